"""From an exported encoder and a few examples to the classes of new images."""

import csv
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from psst.cli import main
from psst.deploy import FewShotClassifier, load_encoder
from psst.fewshot import PrototypicalHead
from tests.deploy.pictures import COLORS, SIDE, exported, picture

pytestmark = pytest.mark.filterwarnings("ignore:uncalibrated")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An exported encoder, examples of three colors, and new pictures in a folder and one below it."""
    root, rng = tmp_path_factory.mktemp("use"), np.random.default_rng(0)
    exported(root)
    for name, color in COLORS.items():
        for folder, count in ((root / "examples" / name, 3), (root / "new" / "deep", 2)):
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture(color, rng, SIDE + 8 * number).save(folder / f"{name}{number}.png")
    (root / "new" / "notes.txt").write_text("no picture")
    return root


def test_it_classifies_files_pictures_and_arrays_alike(place):
    classifier = FewShotClassifier(place / "encoder").fit(place / "examples")
    files = sorted((place / "new").rglob("*.png"))
    expected = [path.stem[:-1] for path in files]
    assert classifier.predict(place / "new").tolist() == expected
    pictures = [Image.open(path) for path in files]
    for images in (files, [str(path) for path in files], pictures, [np.asarray(one) for one in pictures]):
        assert np.array_equal(classifier.predict_proba(images), classifier.predict_proba(files))
    assert classifier.predict(pictures[0]).tolist() == expected[:1]
    assert classifier.score(files, expected) == 1.0
    np.testing.assert_allclose(classifier.predict_proba(files).sum(axis=1), 1, rtol=1e-12)


def test_logits_are_those_of_the_head_on_features(place):
    classifier = FewShotClassifier(place / "encoder", PrototypicalHead()).fit(place / "examples")
    encoder = load_encoder(place / "encoder")
    rng = np.random.default_rng(5)
    images = [picture(color, rng) for color in COLORS.values()]

    def embedded(pictures):
        pixels = np.stack([np.asarray(one) for one in pictures])
        with torch.no_grad():
            return encoder(torch.from_numpy(pixels).permute(0, 3, 1, 2))

    folders = [sorted((place / "examples" / name).glob("*.png")) for name in COLORS]
    exact = FewShotClassifier(encoder, PrototypicalHead()).fit(
        [path for folder in folders for path in folder], [name for name in COLORS for _ in range(3)]
    )
    assert np.array_equal(exact.decision_function(images), classifier.decision_function(images))
    support = torch.from_numpy(classifier._features).view(3, 3, -1).mean(1)
    distances = -torch.cdist(embedded(images), support).square()
    torch.testing.assert_close(torch.from_numpy(classifier.decision_function(images)).float(), distances)


def test_classes_are_added_and_the_order_of_examples_says_nothing(place):
    names = list(COLORS)
    parts = {name: sorted((place / "examples" / name).glob("*.png")) for name in names}
    whole = FewShotClassifier(place / "encoder").fit(place / "examples")
    grown = FewShotClassifier(place / "encoder")
    grown.partial_fit(parts["green"] + parts["amber"], ["green"] * 3 + ["amber"] * 3)
    grown.partial_fit(parts["blue"], ["blue"] * 3)
    assert grown.classes_.tolist() == whole.classes_.tolist() == sorted(names)
    np.testing.assert_allclose(
        grown.predict_proba(place / "new"), whole.predict_proba(place / "new"), rtol=1e-5, atol=1e-7
    )


def test_it_is_saved_cloned_and_pickled(place, tmp_path):
    classifier = FewShotClassifier(str(place / "encoder"), temperature=0.5, unknown=0.4).fit(
        place / "examples"
    )
    expected = classifier.predict_proba(place / "new")
    again = FewShotClassifier.from_pretrained(classifier.save(tmp_path / "saved"))
    for one in (again, pickle.loads(pickle.dumps(classifier))):
        assert np.array_equal(one.predict_proba(place / "new"), expected)
        assert one.get_params()["temperature"] == 0.5
    fresh = clone(classifier)
    assert fresh.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError, match="call `fit` first"):
        fresh.predict(place / "new")
    with pytest.raises(FileExistsError, match="is not empty; name a new folder"):
        classifier.save(tmp_path / "saved")


def test_an_image_below_the_threshold_is_unknown(place):
    classifier = FewShotClassifier(place / "encoder", temperature=100.0, unknown=0.5).fit(place / "examples")
    assert set(classifier.predict(place / "new").tolist()) == {"unknown"}


def test_the_command_classifies_a_folder_and_writes_what_it_found(place, tmp_path, capsys):
    words = ["classify", str(place / "examples"), str(place / "new"), "--encoder", str(place / "encoder")]
    assert main([*words, "--output", str(tmp_path / "found.csv")]) == 0
    shown = capsys.readouterr().out
    assert "6 images, 3 classes of 9 examples" in shown
    assert "uncalibrated" in shown
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [row["image"].split("/")[-1][:-5] for row in rows]
    saved = FewShotClassifier(place / "encoder").fit(place / "examples").save(tmp_path / "saved")
    one = place / "new" / "deep" / "blue0.png"
    assert main(["classify", str(saved), str(one), "--output", str(tmp_path / "one.json")]) == 0
    assert json.loads((tmp_path / "one.json").read_text())[0]["class"] == "blue"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["examples", "new"], "name the encoder of these examples with `--encoder`"),
        (["examples", "nowhere", "--encoder", "encoder"], "`nowhere` does not exist"),
        (["new", "new", "--encoder", "encoder"], r"give examples of two classes or more"),
        (["nowhere", "new", "--encoder", "encoder"], "`nowhere` is no folder; give a saved classifier"),
        (["examples", "new", "--encoder", "resnet18"], "`encoder=resnet18` must be `efficientnet-lite0`"),
        (["examples", "new", "--encoder", "examples"], "is no export: config.json is missing"),
        (["examples", "new", "--encoder", "encoder", "--output", "x.txt"], "must end in .csv or .json"),
        (["examples", "new/notes.txt", "--encoder", "encoder"], "cannot be decoded as an image"),
    ],
)
def test_mistakes_get_a_sentence(place, monkeypatch, capsys, words, told):
    monkeypatch.chdir(place)
    assert main(["classify", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (place / "x.txt").exists()


def test_labels_and_settings_are_checked(place):
    files = sorted((place / "new").rglob("*.png"))
    with pytest.raises(ValueError, match="found 1 for 6 images"):
        FewShotClassifier(place / "encoder").fit(files, ["a"])
    with pytest.raises(ValueError, match="`temperature=0` must be above 0"):
        FewShotClassifier(place / "encoder", temperature=0).fit(place / "examples")
