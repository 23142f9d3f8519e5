"""CUB-200-2011 in its real layout: all 200 classes, two little images of each."""

import shutil
from collections import Counter

import numpy as np
import pytest

from psst.commands.data import prepare
from psst.datamodules.cub import CUB, _CUBSource
from psst.episodes import Episodes, Evaluation
from tests.datamodules.birds import CLASSES, PER_CLASS, color, write_archive, write_folder
from tests.datamodules.stores import content

SPLITS = ("closer_look", "feat", "meta_dataset")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder that holds CUB_200_2011; tests leave it as it is."""
    root = tmp_path_factory.mktemp("cub")
    write_folder(root)
    return root


@pytest.fixture
def root(data, tmp_path):
    """A copy to change."""
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def tables(data, tmp_path):
    """A copy of the tables alone."""
    ignore = shutil.ignore_patterns("images", "attributes")
    shutil.copytree(data / "CUB_200_2011", tmp_path / "tables", ignore=ignore)
    (tmp_path / "tables" / "images").mkdir()
    return tmp_path / "tables"


def datamodule(root, cache, split="closer_look", **options):
    settings = {
        "episodes": Episodes(way=2, query=1),
        "evaluation": Evaluation(way=2, query=1),
        "size": 16,
        "cache_dir": str(cache),
    }
    return CUB(str(root), split, **{**settings, **options})


@pytest.mark.parametrize(
    ("split", "sizes"),
    [("closer_look", (100, 50, 50)), ("feat", (100, 50, 50)), ("meta_dataset", (140, 30, 30))],
)
def test_splits_have_the_published_numbers_of_classes(split, sizes):
    split_of = _CUBSource.classes(split)
    counts = Counter(split_of.values())
    assert (counts["train"], counts["val"], counts["test"]) == sizes
    assert sorted(int(name[:3]) for name in split_of) == list(range(1, 201))


def test_the_rule_of_closer_look():
    """Of the sorted classes, counted from 0: even ones train, 1 mod 4 validate, 3 mod 4 test."""
    split_of = _CUBSource.classes("closer_look")
    for place, name in enumerate(sorted(split_of)):
        assert split_of[name] == ("train" if place % 2 == 0 else "val" if place % 4 == 1 else "test")
    assert split_of["004.Groove_billed_Ani"] == "test"


def test_29_test_classes_of_closer_look_train_in_meta_dataset():
    ours, theirs = _CUBSource.classes("closer_look"), _CUBSource.classes("meta_dataset")
    assert sum(ours[name] == "test" and theirs[name] == "train" for name in ours) == 29


def test_feat_is_another_list():
    ours, theirs = _CUBSource.classes("closer_look"), _CUBSource.classes("feat")
    assert sum(ours[name] != theirs[name] for name in ours) > 100
    assert theirs["001.Black_footed_Albatross"] == "val"


@pytest.mark.parametrize("split", SPLITS)
def test_store_has_the_classes_of_the_split(data, tmp_path, split):
    store = prepare(datamodule(data, tmp_path, split))
    split_of = _CUBSource.classes(split)
    assert set(store.class_names) == set(CLASSES)
    for name, ids in store.splits.items():
        assert {store.class_names[i] for i in ids} == {c for c in CLASSES if split_of[c] == name}
    assert np.bincount(store.labels).tolist() == [PER_CLASS] * 200
    assert store.image_shape == (3, 16, 16)


def test_archive_folder_and_the_folder_itself_give_the_same_store(data, tmp_path):
    expected = content(prepare(datamodule(data, tmp_path / "cache")))
    assert content(prepare(datamodule(data / "CUB_200_2011", tmp_path / "cache"))) == expected
    for name, mode in (("CUB_200_2011.tgz", "w:gz"), ("CUB_200_2011.tar", "w")):
        root = tmp_path / name.replace(".", "_")
        root.mkdir()
        write_archive(data / "CUB_200_2011", root / name, mode)
        assert content(prepare(datamodule(root, tmp_path / "cache"))) == expected
        assert [path.name for path in root.iterdir()] == [name]  # nothing was unpacked beside it


def distance(store, name):
    """How far the mean color of a class's images is from that of its birds, in gray levels."""
    found = store.images[store.image_ids(store.class_names.index(name))].mean(axis=(0, 1, 2))
    drawn = np.mean([color(int(name[:3]), number) for number in range(1, PER_CLASS + 1)], axis=0)
    return np.abs(found - drawn).max()


@pytest.mark.parametrize("split", SPLITS)
def test_images_are_cropped_as_the_split_was_published(data, tmp_path, split):
    """Inside the box everything has the color of the bird; the whole picture is mostly gray."""
    store = prepare(datamodule(data, tmp_path, split))
    for name in ("001.Black_footed_Albatross", "200.Common_Yellowthroat"):
        assert (distance(store, name) < 6) == (split == "feat")


def test_crop_may_be_chosen(data, tmp_path):
    boxed, whole = (
        prepare(datamodule(data, tmp_path, split, crop=crop))
        for split, crop in (("closer_look", "box"), ("feat", "none"))
    )
    assert distance(boxed, CLASSES[49]) < 6
    assert distance(whole, CLASSES[49]) > 20
    assert datamodule(data, tmp_path, "feat").source().key(16) != datamodule(
        data, tmp_path, "feat", crop="none"
    ).source().key(16)


def test_boxes_are_clipped_to_the_image(root):
    """What lies outside is not filled with black."""
    path = root / "CUB_200_2011/bounding_boxes.txt"
    path.write_text(path.read_text().replace("1 20.0 4.0 16.0", "1 20.0 4.0 99.0", 1))
    source = _CUBSource(root, "feat")
    record = next(each for each in source.scan() if each.reference.name.endswith("_0001_101.jpg"))
    assert record.reference.box == (20.0, 4.0, 99.0, 24.0)
    right = source.decode(record, 20)[:, -2:]  # of x = 20 to 40: the field to the right of the bird
    assert np.abs(right.astype(int) - 128).max() < 40


def test_split_has_no_default_and_the_message_names_the_three(data):
    for make in (CUB, _CUBSource):
        with pytest.raises(
            ValueError,
            match=r"`data.init_args.split=None` must be 'closer_look'.*'feat'.*'meta_dataset'.*29 of the 50",
        ):
            make(str(data))


def test_unknown_split_and_crop_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"`data.init_args.split=cub` must be 'closer_look'"):
        datamodule(data, tmp_path, "cub")
    with pytest.raises(ValueError, match=r"`data.init_args.crop=center` must be 'none' .* or 'box'"):
        datamodule(data, tmp_path, "feat", crop="center")


def test_recognized_by_name(data, tmp_path):
    (layout,) = CUB.layouts
    assert layout.sees(data)
    assert layout.sees(data / "CUB_200_2011")
    (tmp_path / "CUB_200_2011.tgz").touch()
    assert layout.sees(tmp_path)
    assert not layout.sees(tmp_path / "nowhere")


def test_root_without_birds_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"holds neither CUB_200_2011 .* nor CUB_200_2011.tgz"):
        _CUBSource(tmp_path, "feat").scan()


def test_missing_images_are_counted_and_the_first_is_named(root):
    for path in sorted((root / "CUB_200_2011/images/003.Sooty_Albatross").iterdir()):
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of 400 images .* are missing, first: images/003.Sooty_Alb"
    ):
        _CUBSource(root, "feat").scan()


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_are_needed_only_to_crop(root, split):
    (root / "CUB_200_2011/bounding_boxes.txt").unlink()
    if split == "feat":
        with pytest.raises(FileNotFoundError, match=r"bounding_boxes.txt of CUB-200-2011 is missing"):
            _CUBSource(root, split).scan()
    else:
        assert len(_CUBSource(root, split).scan()) == 400


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "images.txt",
            "13 007.Parakeet_Auklet/",
            "13 007.Parrot/",
            r"images of 201 classes.*007.Parrot is unknown",
        ),
        ("bounding_boxes.txt", "13 20.0 4.0 16.0 24.0\n", "", r"image 13 .* is not in bounding_boxes.txt"),
        (
            "bounding_boxes.txt",
            "13 20.0 4.0 16.0 24.0",
            "13 20.0 4.0 0.0 24.0",
            r"image 13 .* has the box 20.0",
        ),
        ("bounding_boxes.txt", "13 20.0 4.0 16.0 24.0", "13 x y 1 1", r"image 13 .* has the box x y 1 1"),
        ("images.txt", "13 007.", "13 007 .", r"line 13 of .*images.txt` has 3 words, not 2"),
    ],
)
def test_damaged_tables_are_named(tables, name, old, new, message):
    path = tables / name
    text = path.read_text()
    assert text.count(f"\n{old}") == 1
    path.write_text(text.replace(f"\n{old}", f"\n{new}"))
    with pytest.raises(ValueError, match=message):
        _CUBSource(tables, "feat").scan()


def test_table_that_is_not_text_is_named(tables):
    (tables / "images.txt").write_bytes(b"1 001.Alb\xe9tros/1.jpg\n")
    with pytest.raises(ValueError, match=r"images.txt` is not a text file in UTF-8"):
        _CUBSource(tables, "feat").scan()


@pytest.mark.parametrize("split", ["feat", "closer_look"])
def test_damaged_image_is_named(root, tmp_path, split):
    path = sorted((root / "CUB_200_2011/images/003.Sooty_Albatross").iterdir())[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"1 of 400 images are damaged.*003.Sooty_Albatross/Sooty"):
        prepare(datamodule(root, tmp_path / "cache", split))


def test_box_outside_the_image_is_named(root, tmp_path):
    path = root / "CUB_200_2011/bounding_boxes.txt"
    path.write_text(path.read_text().replace("\n13 20.0 ", "\n13 60.0 "))
    with pytest.raises(ValueError, match=r"1 of 400 images .* its box 60 4 16 24 lies outside"):
        prepare(datamodule(root, tmp_path / "cache", "feat"))


def test_truncated_archive_is_named_and_nothing_is_left(data, tmp_path):
    path = write_archive(data / "CUB_200_2011", tmp_path / "CUB_200_2011.tgz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"CUB_200_2011.tgz"):
        prepare(datamodule(tmp_path, tmp_path / "cache"))
    assert not any(entry.is_dir() for entry in (tmp_path / "cache").iterdir())


def test_web_page_instead_of_the_archive_is_named(tmp_path):
    (tmp_path / "CUB_200_2011.tgz").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"CUB_200_2011.tgz"):
        prepare(datamodule(tmp_path, tmp_path / "cache"))


def test_episodes_can_be_drawn(data, tmp_path):
    module = datamodule(data, tmp_path)
    module.prepare_data()
    module.setup("fit")
    assert next(iter(module.train_dataloader())).images().shape == (2 * (1 + 1), 3, 16, 16)
