"""Temperatures and calibration errors against closed forms, and the way of a temperature into an export."""

import numpy as np
import pytest
from scipy.special import softmax

from psst.cli import main
from psst.deploy import FewShotClassifier
from psst.deploy.calibration import calibration_error, fit_temperature
from psst.images.sources.lists import SEEDED, assign_splits
from tests.deploy.pictures import exported, save_pictures

CONFIG = """\
data:
  class_path: psst.datamodules.ImageFolder
  init_args:
    root: photos
    size: 24
    episodes: {way: 2, shot: 1, query: 3}
    evaluation: {way: 2, shot: 1, query: 3, val_episodes: 20, test_episodes: 20}
"""


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_the_temperature_is_that_of_the_labels_and_scales_with_the_logits(scale):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    found = fit_temperature(scale * logits, labels)
    assert found == pytest.approx(scale, rel=0.05)  # six standard errors of 20,000 labels
    assert found == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-3)  # where a search ends


@pytest.mark.parametrize("n", [3, 60])
def test_images_without_a_mistake_do_not_make_certain(n):
    logits, labels = np.tile([1.0, -1.0], (n, 1)), np.zeros(n, int)
    probability = softmax(logits[0] / fit_temperature(logits, labels))[0]
    assert probability == pytest.approx((n + 1) / (n + 2), rel=1e-4)  # where a search ends


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.55, 0.45]])
    found = calibration_error(np.log(probabilities), np.array([0, 0, 1, 1]))
    assert found == pytest.approx((2 * 0.1 + 2 * 0.05) / 4)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["amber", "blue", "green", "g1", "g2", "g3"]
    save_pictures(tmp_path / "photos", dict.fromkeys(names, 6))
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


def test_an_export_keeps_the_temperature_of_episodes(run, capsys):
    encoder = exported(run)
    plain = FewShotClassifier(encoder).fit("photos")
    with pytest.warns(UserWarning, match="uncalibrated: .*`psst export --calibrate CONFIG`"):
        uncalibrated = plain.predict_proba("photos")
    words = ["export", "model.ckpt", "--output", "encoder", "--overwrite", "--calibrate", "run.yaml"]
    assert main(words) == 0
    assert "from episodes of val classes: calibration error" in capsys.readouterr().out
    card = (encoder / "README.md").read_text(encoding="utf-8")
    assert "Probabilities are calibrated (temperature" in card
    calibrated = FewShotClassifier(encoder).fit("photos")
    logits = calibrated.decision_function("photos")
    temperatures = 1 / _ratios(calibrated.predict_proba("photos"), logits)
    np.testing.assert_allclose(temperatures, temperatures[0], rtol=1e-6)
    assert abs(temperatures[0] - 1) > 0.01
    np.testing.assert_allclose(uncalibrated, softmax(logits, axis=1), rtol=1e-9)
    saved = FewShotClassifier.from_pretrained(calibrated.save("saved"))
    np.testing.assert_array_equal(saved.predict_proba("photos"), calibrated.predict_proba("photos"))


def _ratios(probabilities, logits):
    """Differences of log-probabilities over those of logits: 1 / T."""
    gaps = np.log(probabilities[:, 0] / probabilities[:, 1]) / (logits[:, 0] - logits[:, 1])
    return gaps[np.abs(logits[:, 0] - logits[:, 1]) > 1e-3]


def test_no_class_of_the_training_calibrates(run, capsys):
    split_of = assign_splits(["amber", "blue", "green", "g1", "g2", "g3"], SEEDED, 0, "photos")
    words = ["export", "model.ckpt", "--output", "encoder", "--overwrite", "--calibrate", "run.yaml"]
    exported(run, [name for name, split in split_of.items() if split != "test"])
    assert main(words) == 0
    assert "from episodes of test classes" in capsys.readouterr().out
    (run / "encoder").rename(run / "first")
    exported(run, split_of)
    assert main(words) == 2
    assert "was trained on validation and test classes" in capsys.readouterr().err
