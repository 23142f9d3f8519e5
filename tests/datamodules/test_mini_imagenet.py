"""mini-ImageNet's layout, in small data sets made here."""

import tarfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from psst.commands.data import prepare
from psst.datamodules import MiniImageNet
from psst.episodes import Episodes, Evaluation
from tests.datamodules.stores import content

CLASSES = {"train": ["n01", "n02", "n03"], "val": ["n04", "n05"], "test": ["n06", "n07"]}
PER_CLASS = 4


def picture(name):
    color = np.frombuffer(name.encode().ljust(9), np.uint8)[-9:].reshape(3, 3)[:, None]
    pixels = np.broadcast_to(color.repeat(8, axis=0).reshape(24, 1, 3), (24, 24, 3))
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def names(split):
    return [(f"{label}{i:08}.jpg", label) for label in CLASSES[split] for i in range(PER_CLASS)]


@pytest.fixture
def root(tmp_path):
    """Three csv files and a folder of images."""
    root = tmp_path / "mini"
    (root / "images").mkdir(parents=True)
    for split in CLASSES:
        lines = [f"{name},{label}" for name, label in names(split)]
        (root / f"{split}.csv").write_text("\n".join(["filename,label", *lines, ""]))
        for name, _ in names(split):
            (root / "images" / name).write_bytes(picture(name))
    return root


def to_shards(root):
    """Move the images into one tar file a split."""
    for split in CLASSES:
        with tarfile.open(root / f"{split}-00.tar", "w") as shard:
            for name, _ in names(split):
                shard.add(root / "images" / name, f"images/{name}")
                (root / "images" / name).unlink()
    (root / "images").rmdir()


def datamodule(root, **options):
    settings = {"episodes": Episodes(way=2, query=3), "evaluation": Evaluation(way=2, query=3), "size": 16}
    return MiniImageNet(root=str(root), cache_dir=str(root.parent / "cache"), **{**settings, **options})


def test_classes_splits_and_labels_are_those_of_the_csv_files(root):
    store = prepare(datamodule(root))
    assert store.image_shape == (3, 16, 16)
    assert {split: [store.class_names[i] for i in ids] for split, ids in store.splits.items()} == CLASSES
    assert np.bincount(store.labels).tolist() == [PER_CLASS] * 7


def test_tar_shards_and_folder_give_the_same_store(root):
    folder = prepare(datamodule(root))
    to_shards(root)
    shards = prepare(datamodule(root))
    assert shards.folder != folder.folder
    assert content(shards) == content(folder)


def test_order_of_csv_lines_does_not_matter(root):
    before = content(prepare(datamodule(root)))
    header, *lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(lines)]))
    assert content(prepare(datamodule(root))) == before


@pytest.mark.parametrize("size", [8, 32])
def test_any_side_length(root, size):
    assert prepare(datamodule(root, size=size)).image_shape == (3, size, size)
    assert datamodule(root, size=size).image_shape == (3, size, size)


def test_episodes_can_be_drawn(root):
    data = datamodule(root)
    data.prepare_data()
    data.setup("fit")
    episode = next(iter(data.train_dataloader()))
    assert episode.images().shape == (2 * (1 + 3), 3, 16, 16)


def test_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*nowhere` does not exist"):
        prepare(datamodule(tmp_path / "nowhere"))


def test_empty_root_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*empty` is an empty folder"):
        prepare(datamodule(tmp_path / "empty"))


def test_missing_csv_is_named(root):
    (root / "val.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no list for val; .* columns filename,label"):
        prepare(datamodule(root))


def test_missing_images_are_counted_and_the_first_is_named(root):
    for i in (1, 2):
        (root / "images" / f"n02{i:08}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 28 images .* are missing, first: n0200000001.jpg"):
        prepare(datamodule(root))


@pytest.mark.parametrize("header", ["file,kind", "filename", ""])
def test_wrong_columns_are_shown(root, header):
    (root / "test.csv").write_text(header + "\n")
    with pytest.raises(ValueError, match=r"test.csv` has the columns \[.*\]; line 1 must be filename,label"):
        prepare(datamodule(root))


def test_line_without_a_label_is_named(root):
    with (root / "train.csv").open("a") as file:
        file.write("alone.jpg\n")
    with pytest.raises(
        ValueError, match=r"line 14 of `.*train.csv` is alone.jpg; it needs an image, a class"
    ):
        prepare(datamodule(root))


def test_csv_without_images_is_an_error(root):
    (root / "val.csv").write_text("filename,label\n")
    with pytest.raises(ValueError, match=r"val.csv` names no classes"):
        prepare(datamodule(root))


def test_class_in_two_splits_is_refused(root):
    (root / "images" / "extra.jpg").write_bytes(picture("extra"))
    with (root / "test.csv").open("a") as file:
        file.write("extra.jpg,n01\n")
    with pytest.raises(ValueError, match=r"class `n01` .* split 'train' and in split 'test'"):
        prepare(datamodule(root))


def test_image_in_two_splits_is_refused(root):
    with (root / "test.csv").open("a") as file:
        file.write("n0100000000.jpg,n06\n")
    with pytest.raises(ValueError, match=r"`n0100000000.jpg` and `n0100000000.jpg` .* are one file"):
        prepare(datamodule(root))


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("keep", [0, 40, 500])
def test_corrupt_jpeg_is_named_and_nothing_is_left(root, shards, keep):
    path = root / "images" / "n0400000002.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    if shards:
        to_shards(root)
    with pytest.raises(ValueError, match=r"1 of 28 images .*images/n0400000002.jpg` .* restore the file"):
        prepare(datamodule(root))
    assert [entry for entry in (root.parent / "cache").iterdir() if entry.is_dir()] == []
