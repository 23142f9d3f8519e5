"""Omniglot's published splits, rotations as classes, and episodes within or between alphabets."""

import shutil
from collections import Counter

import numpy as np
import pytest

from psst.commands.data import prepare
from psst.datamodules import Omniglot
from psst.datamodules.omniglot import _BACKGROUND_VAL, _published
from psst.episodes import Episodes, Evaluation
from tests.datamodules.drawings import archive, folder

SIZES = Counter(alphabet for alphabet, _ in _published())  # characters of each of the fifty alphabets
EVALUATION = {
    name: SIZES[name] for (name, _), (_, archive) in _published().items() if archive == "evaluation"
}
BACKGROUND = {name: SIZES[name] for name in SIZES if name not in EVALUATION}
SMALL1 = dict.fromkeys(("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"), 3)
SMALL2 = dict.fromkeys(("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"), 3)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Both official archives with every character, one drawing of each."""
    root = tmp_path_factory.mktemp("complete")
    archive(root / "images_background.zip", BACKGROUND, "images_background", drawings=1)
    archive(root / "images_evaluation.zip", EVALUATION, "images_evaluation", drawings=1)
    return root


@pytest.fixture
def minimal(tmp_path):
    root = tmp_path / "omniglot"
    root.mkdir()
    archive(root / "images_background_small1.zip", SMALL1, "images_background_small1")
    archive(root / "images_background_small2.zip", SMALL2, "images_background_small2")
    return root


def datamodule(root, way=2, eval_way=2, **options):
    episodes, evaluation = Episodes(way=way, query=3), Evaluation(way=eval_way, query=3)
    return Omniglot(root=str(root), episodes=episodes, evaluation=evaluation, size=12, **options)


def classes(data):
    """Return the class names of each split, without reading an image."""
    split_of = {record.class_name: record.split for record in data.source().scan()}
    return {
        split: {name for name in split_of if split_of[name] == split} for split in ("train", "val", "test")
    }


def alphabets(names):
    return {name.split("/")[0] for name in names}


def alphabets_of_batch(data, index):
    return alphabets(data.store.class_names[i] for i in data.store.labels[data.train_batch(index).ids])


def test_the_split_of_vinyals_has_the_published_numbers(complete):
    found = classes(datamodule(complete, protocol="vinyals"))
    assert [len(found[split]) for split in ("train", "val", "test")] == [1028, 172, 423]
    assert alphabets(found["val"]) == set(_BACKGROUND_VAL)
    assert len(alphabets(found["train"])) == 33
    assert alphabets(found["train"]) & alphabets(found["test"]) == {"Gurmukhi"}
    assert {f"Gurmukhi/character{i}" for i in (42, 43, 44, 45)} == {
        name for name in found["test"] if name.startswith("Gurmukhi")
    }


def test_the_official_split_tests_on_the_evaluation_alphabets(complete):
    found = classes(datamodule(complete, protocol="official"))
    assert [len(found[split]) for split in ("train", "val", "test")] == [792, 172, 659]
    assert alphabets(found["test"]) == set(EVALUATION)
    assert len(alphabets(found["train"])) == 25
    assert alphabets(found["val"]) == set(_BACKGROUND_VAL)


def test_rotations_of_the_split_of_vinyals_give_four_times_the_classes(complete):
    found = classes(datamodule(complete, protocol="vinyals", rotations="all"))
    assert [len(found[split]) for split in ("train", "val", "test")] == [4112, 688, 1692]
    assert "Gurmukhi/character41/rot090" in found["train"]


def test_background_leaves_the_evaluation_alphabets_alone_wherever_they_lie(tmp_path):
    folder(tmp_path, dict.fromkeys(BACKGROUND, 2), "here")
    folder(tmp_path, dict.fromkeys(EVALUATION, 2), "here")
    found = classes(datamodule(tmp_path, protocol="background"))
    assert not alphabets(set().union(*found.values())) & set(EVALUATION)


def test_official_archives_and_torchvision_folders_give_the_same_drawings(tmp_path, complete):
    """Torchvision leaves the archives beside what it extracted from them."""

    def listed(root):
        records = datamodule(root, protocol="official").source().scan()
        return [(each.class_name, each.split, each.group, each.reference.entry.read()) for each in records]

    zipped = listed(complete)
    for path in complete.glob("*.zip"):
        shutil.unpack_archive(path, tmp_path / "omniglot-py")
        shutil.copy(path, tmp_path / "omniglot-py")
    assert listed(tmp_path) == zipped
    for path in (tmp_path / "omniglot-py").glob("*.zip"):
        path.unlink()
    assert listed(tmp_path) == zipped
    assert listed(tmp_path / "omniglot-py") == zipped


def test_a_missing_archive_is_named(tmp_path, complete):
    shutil.copy(complete / "images_background.zip", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"protocol=vinyals` needs the alphabets .*images_evaluation.zip"
    ):
        datamodule(tmp_path, protocol="vinyals").source().scan()


def test_missing_characters_are_counted_and_the_first_is_named(tmp_path):
    folder(tmp_path, BACKGROUND | {"Greek": 20}, "images_background", drawings=1)
    folder(tmp_path, EVALUATION, "images_evaluation", drawings=1)
    with pytest.raises(
        FileNotFoundError, match=r"all 1623 characters, 4 are not .* first: Greek/character21"
    ):
        datamodule(tmp_path, protocol="official").source().scan()


@pytest.mark.parametrize(("rotations", "turned"), [("train", {"train"}), ("all", {"train", "val", "test"})])
def test_rotations_make_four_classes_of_a_character(minimal, tmp_path, rotations, turned):
    store = prepare(datamodule(minimal, rotations=rotations, cache_dir=str(tmp_path / "cache")))
    for split, ids in store.splits.items():
        names = [store.class_names[i] for i in ids]
        suffixes = Counter(name.split("/")[2] if name.count("/") == 2 else "" for name in names)
        kinds = ("rot000", "rot090", "rot180", "rot270") if split in turned else ("",)
        assert suffixes == {kind: len(names) // len(kinds) for kind in kinds}
    for name in [name for name in store.class_names if name.endswith("rot000")]:
        upright = store.images[store.image_ids(store.class_names.index(name))]
        for turns in (1, 2, 3):
            other = store.class_names.index(name.replace("rot000", f"rot{90 * turns:03}"))
            np.testing.assert_array_equal(
                store.images[store.image_ids(other)], np.rot90(upright, turns, axes=(1, 2))
            )
            assert not np.array_equal(store.images[store.image_ids(other)], upright)


def test_rotated_classes_belong_to_the_group_of_their_alphabet(minimal, tmp_path):
    store = prepare(datamodule(minimal, rotations="all", cache_dir=str(tmp_path / "cache")))
    assert {name: len(ids) for name, ids in store.groups["test"].items()} == {"Sanskrit": 12, "Tagalog": 12}


def test_evaluation_may_mix_alphabets(minimal, tmp_path):
    data = datamodule(minimal, eval_within="split", eval_way=3, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("test")
    plan = data.episode_plan("test")
    assert list(plan) == ["all"]
    drawn = plan["all"].draw(0, 50).class_ids
    seen = {frozenset(alphabets(data.store.class_names[i] for i in row)) for row in drawn}
    assert {"Sanskrit", "Tagalog"} in seen


def test_training_may_keep_to_one_alphabet_an_episode(minimal, tmp_path):
    data = datamodule(minimal, train_within="alphabet", way=3, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("fit")
    seen = [alphabets_of_batch(data, i) for i in range(60)]
    assert {len(found) for found in seen} == {1}
    assert set().union(*seen) == set(SMALL1)


def test_training_mixes_alphabets_by_default(minimal, tmp_path):
    data = datamodule(minimal, way=5, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("fit")
    assert max(len(alphabets_of_batch(data, i)) for i in range(20)) > 2


def test_every_option_is_part_of_the_key(minimal):
    usual = datamodule(minimal).source().key(28)
    for option in ({"rotations": "all"}, {"train_within": "alphabet"}, {"eval_within": "split"}):
        assert datamodule(minimal, **option).source().key(28) == usual | option != usual


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ({"rotations": "test"}, r"rotations=test` must be 'none', 'train' or 'all'"),
        ({"train_within": "episode"}, r"train_within=episode` must be 'alphabet' or 'split'"),
        ({"eval_within": "group"}, r"eval_within=group` must be 'alphabet' or 'split'"),
    ],
)
def test_unknown_options_are_refused(minimal, option, choices):
    with pytest.raises(ValueError, match=choices):
        datamodule(minimal, **option).source()


def test_damaged_rotated_drawing_is_named(minimal, tmp_path):
    shutil.unpack_archive(minimal / "images_background_small1.zip", minimal)
    (minimal / "images_background_small1.zip").unlink()
    path = minimal / "images_background_small1/Balinese/character01/1001_01.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"4 of \d+ images are damaged.*character01/1001_01.png"):
        prepare(datamodule(minimal, rotations="train", cache_dir=str(tmp_path / "cache")))
