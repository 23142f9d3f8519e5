"""Omniglot's archives, in small ones made here with the official names and paths."""

import shutil
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from psst.commands.data import prepare
from psst.datamodules import Omniglot
from psst.datamodules.omniglot import _BACKGROUND_TEST, _BACKGROUND_VAL, _MINIMAL
from psst.episodes import Episodes, Evaluation
from tests.datamodules.drawings import DRAWINGS
from tests.datamodules.drawings import archive as write
from tests.datamodules.stores import content

SMALL1 = list(_MINIMAL["train"])
SMALL2 = ["Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"]
CHARACTERS = 3


def archive(path, alphabets, top):
    write(path, dict.fromkeys(alphabets, CHARACTERS), top)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "omniglot"
    root.mkdir()
    archive(root / "images_background_small1.zip", SMALL1, "images_background_small1")
    archive(root / "images_background_small2.zip", SMALL2, "images_background_small2")
    return root


def datamodule(root, **options):
    settings = {"episodes": Episodes(way=2, query=3), "evaluation": Evaluation(way=2, query=3)}
    return Omniglot(root=str(root), cache_dir=str(root.parent / "cache"), **{**settings, **options})


def alphabets(store, split):
    return {store.class_names[i].split("/")[0] for i in store.splits[split]}


def test_minimal_protocol_splits_by_alphabet(root):
    store = prepare(datamodule(root))
    assert alphabets(store, "train") == set(SMALL1)
    assert alphabets(store, "val") == {"Japanese_(katakana)"}
    assert alphabets(store, "test") == {"Sanskrit", "Tagalog"}
    assert store.image_shape == (1, 28, 28)


def test_validation_and_test_are_grouped_by_alphabet(root):
    store = prepare(datamodule(root))
    assert set(store.groups) == {"val", "test"}
    for split, groups in store.groups.items():
        assert sorted(np.concatenate(list(groups.values()))) == store.splits[split].tolist()
        for name, ids in groups.items():
            assert {store.class_names[i].split("/")[0] for i in ids} == {name}


def test_episode_plan_stays_within_alphabets(root):
    data = datamodule(root)
    data.prepare_data()
    data.setup("test")
    plan = data.episode_plan("test")
    assert set(plan) == {"Sanskrit", "Tagalog"}
    for name, sampler in plan.items():
        assert np.isin(sampler.draw(0, 50).class_ids, data.store.groups["test"][name]).all()


def test_alphabets_of_both_archives_count_once(root):
    store = prepare(datamodule(root))
    assert len(store.splits["train"]) == CHARACTERS * len(SMALL1)
    assert np.unique(np.bincount(store.labels)).tolist() == [DRAWINGS]


def test_ink_is_white_on_black(root):
    store = prepare(datamodule(root, size=105))
    number = store.image_ids(0)[0]
    with zipfile.ZipFile(root / "images_background_small1.zip") as file:
        name = "images_background_small1/Balinese/character01/1001_01.png"
        ink = ~np.asarray(Image.open(BytesIO(file.read(name))))
    np.testing.assert_array_equal(store.images[number, ..., 0], 255 * ink.astype(np.uint8))


def test_extracted_folders_and_mixtures_give_the_same_store(root):
    zipped = content(prepare(datamodule(root)))
    shutil.unpack_archive(root / "images_background_small1.zip", root)
    assert content(prepare(datamodule(root))) == zipped
    (root / "images_background_small1.zip").unlink()
    assert content(prepare(datamodule(root))) == zipped


def test_background_protocol_holds_out_alphabets(root):
    rest = [name for name in _BACKGROUND_VAL if name not in SMALL1]
    archive(root / "images_background_rest.zip", [*rest, "Braille"], "images_background")
    archive(root / "images_evaluation.zip", ["Angelic"], "images_evaluation")
    store = prepare(datamodule(root, protocol="background"))
    assert alphabets(store, "val") == set(_BACKGROUND_VAL)
    assert alphabets(store, "test") == set(_BACKGROUND_TEST)
    assert alphabets(store, "train") == {"Balinese", "Greek", "Korean", "Latin", "Braille"}


def test_missing_alphabets_are_named(root):
    (root / "images_background_small2.zip").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"\['Japanese_\(katakana\)', 'Sanskrit', 'Tagalog'\].*small2.zip"
    ):
        prepare(datamodule(root))


def test_root_without_drawings_is_named(root):
    for path in root.iterdir():
        path.unlink()
    (root / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"data.init_args.root=.* holds no Omniglot drawings"):
        prepare(datamodule(root))


def test_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*nowhere` does not exist"):
        prepare(datamodule(tmp_path / "nowhere"))


def test_unreadable_zip_is_named(root):
    (root / "images_background_small2.zip").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"small2.zip` is no zip .* but a web page"):
        prepare(datamodule(root))


def test_unknown_protocol_is_refused(root):
    with pytest.raises(
        ValueError,
        match=r"`data.init_args.protocol=lake` must be 'minimal', 'background', 'vinyals' or 'official'",
    ):
        datamodule(root, protocol="lake").source()
