"""Features of any folder of images, each beside the path of its file."""

import csv
import json
import os
import re

import numpy as np
import pytest

from psst.cli import main
from psst.deploy import FewShotClassifier, embed_images, load_encoder
from tests.deploy.pictures import exported, save_pictures


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, its export, a classifier, and pictures in folders, one of them beside these."""
    root = tmp_path_factory.mktemp("predict")
    exported(root)
    save_pictures(root / "photos", {"amber": 3, "blue": 2})
    (root / "photos" / "blue" / "1.png").rename(root / "photos" / "with, comma.png")
    return root


@pytest.fixture
def files(place, monkeypatch):
    monkeypatch.chdir(place)
    return [
        "photos/amber/0.png",
        "photos/amber/1.png",
        "photos/amber/2.png",
        "photos/blue/0.png",
        "photos/with, comma.png",
    ]


def read(path):
    """Names and features of each ending."""
    if path.suffix == ".npz":
        with np.load(path) as saved:
            return saved["images"].tolist(), saved["features"]
    if path.suffix == ".json":
        rows = json.loads(path.read_text())
        return [row["image"] for row in rows], np.array([row["features"] for row in rows])
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["image", "f0", "f1"]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], float)


@pytest.mark.parametrize("ending", ["csv", "json", "npz"])
def test_every_file_has_the_features_of_its_picture(place, files, capsys, ending):
    output = place / f"found.{ending}"
    assert main(["predict", "model.ckpt", "photos", "--output", str(output)]) == 0
    assert "5 images, beside their paths" in capsys.readouterr().out
    names, features = read(output)
    assert sorted(names) == sorted(files)
    encoder = load_encoder("encoder")
    for name, row in zip(names, features, strict=True):
        np.testing.assert_allclose(row, embed_images(encoder, [name])[0], rtol=1e-4, atol=1e-5)
    assert len(np.unique(features.round(4), axis=0)) == 5


def test_checkpoint_export_and_classifier_agree(place, files, tmp_path):
    saved = FewShotClassifier("encoder").fit(files, ["amber"] * 3 + ["blue"] * 2).save(tmp_path / "saved")
    found = []
    for model in ("model.ckpt", "encoder", str(saved)):
        assert main(["predict", "--output", str(tmp_path / "f.npz"), model, "photos"]) == 0
        found.append(read(tmp_path / "f.npz")[1])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_name_that_is_no_utf_8_is_written_as_it_can_be_read(place, files, tmp_path):
    odd = tmp_path / "odd" / os.fsdecode(b"\xe9.png")
    odd.parent.mkdir()
    try:
        odd.write_bytes((place / files[0]).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert main(["predict", "encoder", str(tmp_path / "odd"), "--output", str(tmp_path / "f.csv")]) == 0
    assert read(tmp_path / "f.csv")[0] == [f"{tmp_path / 'odd'}/\\xe9.png"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.ckpt", "photos", "--output", "f.txt"], "`--output f.txt` must end in .csv, .json or .npz"),
        (["model.ckpt", "nowhere"], "`nowhere` does not exist; give an image"),
        (["nowhere", "photos"], "`nowhere` is not a file; name a checkpoint"),
        (["photos", "photos"], "is no export: config.json is missing"),
        (["model.ckpt", "model.ckpt"], "`model.ckpt` .* cannot be decoded as an image"),
        (["--model", "model.ckpt", "photos"], "`--model` is unknown"),
        (["model.ckpt"], "`images` is missing; `psst predict --help` has examples"),
        (["model.ckpt", "photos/blue/0.png", "--output", "no/f.csv"], "error: `no/f.csv` cannot be written"),
        (["--config", "quickstart"], "`psst predict` needs a trained model"),
    ],
)
def test_mistakes_get_a_sentence_and_leave_nothing(place, files, capsys, words, told):
    assert main(["predict", *words]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not (place / "features.csv").exists()
