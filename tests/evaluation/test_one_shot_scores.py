"""Scores of the one-shot runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from psst.backbones import Conv4
from psst.episodes.one_shot_runs import read_one_shot_runs
from psst.evaluation import load_scores, paired_difference, save_scores
from psst.evaluation.one_shot_runs import evaluate_one_shot_runs
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic
from psst.training import FewShotModule
from tests.episodes.runs import write_runs

WRONG = ((1, 3), (1, 4), (2, 20), (17, 1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return read_one_shot_runs(write_runs(tmp_path_factory.mktemp("runs") / "all_runs.zip", WRONG), size=28)


def pixels(images):
    return images.flatten(1) / 255


def test_accuracy_of_each_run_is_the_share_of_right_answers(runs):
    result = evaluate_one_shot_runs(pixels, runs)
    expected = np.ones(20)
    for run, _ in WRONG:
        expected[run - 1] -= 1 / 20
    np.testing.assert_allclose(result.accuracies, expected, atol=1e-6)
    assert result.error == pytest.approx(4 / 400)


def test_interval_is_that_of_student_over_the_runs(runs):
    result = evaluate_one_shot_runs(pixels, runs)
    spread = np.std(result.accuracies, ddof=1, dtype=np.float64) / np.sqrt(20)
    assert result.half_width == pytest.approx(stats.t.ppf(0.975, 19) * spread, rel=1e-6)
    last = str(result).splitlines()[-1]
    assert (
        last == f"mean   error   1.0 +- {100 * result.half_width:.1f} % (20 runs, 95% t-interval over runs)"
    )


def test_default_is_the_nearest_drawing(runs):
    """With one support a class the prototype is that drawing; compared with distances by hand."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(28 * 28, 8, generator=generator)
    result = evaluate_one_shot_runs(lambda images: pixels(images) @ weight, runs)
    for run, accuracy in zip(runs, result.accuracies, strict=True):
        support, query = (pixels(run.images) @ weight).split(20)
        nearest = torch.cdist(query.double(), support.double()).argmin(dim=1)
        assert accuracy == pytest.approx(float((nearest == run.answers).float().mean()))


def test_a_module_is_evaluated_by_its_embed(runs):
    torch.manual_seed(0)
    module = FewShotModule(Conv4(), Episodic(PrototypicalHead()), image_shape=(1, 28, 28))
    result = evaluate_one_shot_runs(module.embed, runs, module.head)
    assert result.scores.n == 20
    assert result.mean > 0.9  # test drawings equal their class, but for the four
    assert module.training


def test_integer_features_are_accepted(runs):
    assert evaluate_one_shot_runs(lambda images: images.flatten(1), runs).error == pytest.approx(0.01)


def test_scores_are_saved_and_compared_run_by_run(runs, tmp_path):
    """Models of different image sizes are scored on the same runs."""
    full = evaluate_one_shot_runs(pixels, runs)
    smaller = [replace(run, images=run.images[..., ::4, ::4]) for run in runs]
    coarse = evaluate_one_shot_runs(pixels, smaller)
    save_scores(tmp_path / "runs.npz", {"one-shot runs": full.scores})
    loaded = load_scores(tmp_path / "runs.npz")["one-shot runs"]
    assert paired_difference(loaded, coarse.scores).n == 20
    with pytest.raises(ValueError, match="different episodes"):
        paired_difference(full.scores, evaluate_one_shot_runs(pixels, runs[:19]).scores)


def test_no_runs_are_an_error():
    with pytest.raises(ValueError, match="`runs` is empty"):
        evaluate_one_shot_runs(pixels, [])


@pytest.mark.parametrize("shape", [(40, 4, 7), (39, 8), (40,)])
def test_features_of_another_shape_are_refused(runs, shape):
    with pytest.raises(ValueError, match=r"`embed` returned \[.*\] for 40 images, it must return \[40, D\]"):
        evaluate_one_shot_runs(lambda images: torch.zeros(shape), runs)


def test_features_that_are_not_finite_are_refused(runs):
    with pytest.raises(ValueError, match="NaN or an infinity"):
        evaluate_one_shot_runs(lambda images: torch.full((len(images), 4), torch.nan), runs)
