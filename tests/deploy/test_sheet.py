"""The contact sheet shows what it says: the picture, its class, and the examples that are most like it."""

import json

import numpy as np
import pytest
from PIL import Image

from psst.cli import main
from psst.deploy import FewShotClassifier
from psst.deploy.sheet import _COLUMNS, _GAP, _HEIGHT, _MOST, _SIDE, _WIDTH, _cut, _font, draw_sheet
from tests.deploy.pictures import COLORS, exported, save_pictures


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("sheet")
    exported(root)
    save_pictures(root / "examples", dict.fromkeys(COLORS, 4))
    save_pictures(root / "new", dict.fromkeys(COLORS, 2), seed=1)
    return root


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.chdir(place)


def tiles(path):
    """``[rows of blocks * _COLUMNS, 4, side, side, 3]``, the picture of a block and those beside it."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(float)
    blocks = []
    for number in range(sheet.shape[0] // _HEIGHT * _COLUMNS):
        x, y = number % _COLUMNS * _WIDTH + _GAP, number // _COLUMNS * _HEIGHT + _GAP
        lefts = [x, *(x + one * (_SIDE + _GAP) + _GAP for one in (1, 2, 3))]
        blocks.append([sheet[y : y + _SIDE, left : left + _SIDE] for left in lefts])
    return np.array(blocks)


def test_an_example_is_most_like_itself_and_then_like_its_class():
    classifier = FewShotClassifier("encoder").fit("examples")
    near = classifier.nearest("examples", 4)
    assert near[:, 0].tolist() == list(range(12))
    assert (classifier.labels_[near] == classifier.labels_[:, None]).all()
    assert classifier.examples_[0] == "examples/amber/0.png"
    fresh = FewShotClassifier("encoder").partial_fit("examples")
    assert fresh.partial_fit(Image.open("new/blue/0.png"), ["blue"]).examples_ == [*classifier.examples_, ""]


def test_each_picture_stands_beside_examples_of_its_color(capsys):
    FewShotClassifier("encoder", temperature=1.0).fit("examples").save("classifier")
    assert main(["classify", "classifier", "new", "--sheet", "sheet.png"]) == 0
    told = capsys.readouterr().out
    assert "sheet.png: 6 of 6 images, the least certain first, beside their like" in told
    lines = [line.split() for line in told.splitlines()[:6]]
    order = sorted(range(6), key=lambda i: float(lines[i][2]))
    found = tiles("sheet.png")
    for block, row in zip(found, (lines[i] for i in order), strict=True):
        np.testing.assert_allclose(block.mean(axis=(1, 2)), np.tile(COLORS[row[1]], (4, 1)), atol=12)


def test_examples_that_have_gone_are_gray_and_named(place, capsys):
    classifier = FewShotClassifier("encoder").fit("examples")
    (place / "examples").rename(place / "away")
    classifier.save("alone")
    try:
        assert main(["classify", "alone", "new/blue", "--sheet", "gone.png"]) == 0
    finally:
        (place / "away").rename(place / "examples")
    assert "examples are not where they were, such as `examples/blue/" in capsys.readouterr().out
    found = tiles("gone.png")
    assert (found[:2, 1:] == 225).all()
    np.testing.assert_allclose(found[0, 0].mean(axis=(0, 1)), COLORS["blue"], atol=12)


def test_a_classifier_that_keeps_no_paths_is_read_and_its_examples_are_gray(place, capsys):
    """As they were saved before paths were."""
    folder = FewShotClassifier("encoder").fit("examples").save("old")
    about = json.loads((folder / "classifier.json").read_text())
    del about["examples"]
    (folder / "classifier.json").write_text(json.dumps(about))
    assert main(["classify", "old", "new/green", "--sheet", "old.png"]) == 0
    assert "examples are not where they were, such as `given as pixels`" in capsys.readouterr().out
    assert (tiles("old.png")[:2, 1:] == 225).all()


def test_a_sheet_of_many_keeps_the_least_certain(place, capsys):
    files = sorted((place / "new").rglob("*.png")) * 10
    classifier = FewShotClassifier("encoder", temperature=1.0).fit("examples")
    sure = np.linspace(0.9, 0.4, len(files))
    sheet = draw_sheet(place / "many.jpg", classifier, files, np.stack([sure, 1 - sure, 0 * sure], axis=1))
    assert f": {_MOST} of 60 images" in sheet
    assert Image.open(place / "many.jpg").height == _MOST // _COLUMNS * _HEIGHT


@pytest.mark.parametrize("text", ["", "cup", "Arla-Ecological-Medium-Fat-Milk", "W" * 200])
def test_no_name_is_wider_than_its_picture_and_both_ends_are_kept(text):
    cut = _cut(text)
    assert _font().getlength(cut) <= _SIDE
    if cut != text:
        head, _, tail = cut.partition("…")
        assert (head, tail) == (text[: len(head)], text[-len(tail) :])
        assert abs(len(head) - len(tail)) <= 1


def test_another_ending_is_refused_before_any_work(place, capsys):
    assert main(["classify", "classifier", "new", "--sheet", "sheet.pdf"]) == 2
    assert "`--sheet sheet.pdf` must end in .png or .jpg" in capsys.readouterr().err
