"""tieredImageNet: lists of PNG files, BGR arrays, folders."""

import mmap
import pickle
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from psst.datamodules.tiered_imagenet import TieredImageNet
from psst.images.build import build_store
from psst.images.sources.layout import Layout, published_rows
from tests.images.python2_pickles import python2
from tests.images.sources.tiered_files import LABELS, SPLITS, images, labels_v1, png, write_v1, write_v2


def source(root):
    return Layout.choose(root, TieredImageNet.layouts, "tieredImageNet").source(root)


def check(root, tmp_path, names):
    store = build_store(source(root), 20, tmp_path / "cache", workers=2)
    assert {split: [store.class_names[i] for i in ids] for split, ids in store.splits.items()} == names
    for split, ids in store.splits.items():
        for class_id in ids:
            name = store.class_names[class_id]
            number = LABEL_OF.get(name, names[split].index(name))
            expected = images(split)[np.array(LABELS) == number]
            np.testing.assert_array_equal(store.images[store.image_ids(int(class_id))], expected)


V1_NAMES = {
    "train": ["train/crane", "train/goldfinch, Carduelis carduelis"],
    "val": ["val/crane", "val/tench"],
    "test": ["test/a (0)", "test/a (1)"],
}
LABEL_OF = {  # where names and labels are sorted differently
    "train/crane": 1,
    "train/goldfinch, Carduelis carduelis": 0,
}


@pytest.mark.parametrize("dump", [pickle.dumps, lambda value: pickle.dumps(value, 2), python2])
def test_png_lists(tmp_path, dump):
    """Names that repeat, within a split or over splits, stay apart; colors are red, green, blue."""
    check(write_v1(tmp_path / "tiered", dump), tmp_path, V1_NAMES)


def test_png_lists_under_the_names_of_the_mirror(tmp_path):
    write_v1(tmp_path / "data" / "tiered-imagenet", prefix="tiered-imagenet-")
    check(tmp_path / "data", tmp_path, V1_NAMES)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_bgr_arrays(tmp_path, save):
    names = {"train": ["train/0", "train/1"], "val": ["val/10", "val/11"], "test": ["test/20", "test/21"]}
    check(write_v2(tmp_path / "tiered", save), tmp_path, names)


@pytest.mark.parametrize("side", ["png", "npz"])
def test_mixtures_are_refused(tmp_path, side):
    root = write_v1(tmp_path / "tiered") if side == "png" else write_v2(tmp_path / "tiered")
    content = {"labels": LABELS} if side == "png" else labels_v1("val")
    (root / "val_labels.pkl").write_bytes(pickle.dumps(content))
    wrong, right = ("labels", "label_specific") if side == "png" else ("label_specific", "labels")
    with pytest.raises(
        ValueError, match=f"val_labels.pkl` has {wrong} in place of {right}: .* one distribution"
    ):
        source(root).scan()


def test_missing_labels_are_named(tmp_path):
    root = write_v1(tmp_path / "tiered")
    (root / "test_labels.pkl").unlink()
    with pytest.raises(FileNotFoundError, match=r"root=.*tiered` lacks the file for test"):
        source(root).scan()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_specific": np.arange(5)}, "goes up to 4 and `label_specific_str` does not name that many"),
        ({"label_specific": np.array([0, 1])}, "holds 5 images, with 2 labels"),
        ({"label_specific": np.zeros(5)}, r"are an array \[5\] of type float64; expected a list of whole"),
        ({"label_specific_str": None}, "does not name that many"),
    ],
)
def test_wrong_labels_are_named(tmp_path, changes, message):
    root = write_v1(tmp_path / "tiered")
    (root / "train_labels.pkl").write_bytes(pickle.dumps(labels_v1("train", **changes)))
    with pytest.raises(ValueError, match=message):
        source(root).scan()


def test_damaged_png_is_named(tmp_path):
    root = write_v1(tmp_path / "tiered")
    pngs = [png(image) for image in images("val")]
    pngs[3] = pngs[3][:60]
    (root / "val_images_png.pkl").write_bytes(pickle.dumps(pngs))
    with pytest.raises(ValueError, match=r"1 of 15 images are damaged.*image 3 of .*val_images_png.pkl"):
        build_store(source(root), 20, tmp_path / "cache")


@pytest.mark.parametrize("content", [{"a": 1}, [images("val")[0]], [1, 2]])
def test_images_that_are_no_png_list(tmp_path, content):
    root = write_v1(tmp_path / "tiered")
    (root / "val_images_png.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"val_images_png.pkl` does not hold a list of encoded images"):
        source(root).scan()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot be read as an npz archive"),
        (lambda path: path.write_bytes(b"<html>"), "cannot be read as an npz archive"),
        (lambda path: np.savez(path, data=images("val")), "holds data; expected an array `images`"),
        (lambda path: np.savez(path, images=images("val")[:3]), "holds 3 images, with 5 labels"),
        (lambda path: np.savez(path, images=images("val").astype(np.int64)), "of type int64; expected"),
        (lambda path: np.savez(path, images=np.array([{}], object)), "no whole array of numbers"),
        (lambda path: np.savez(path), "holds nothing"),
    ],
)
def test_damaged_archives_are_named(tmp_path, damage, message):
    root = write_v2(tmp_path / "tiered")
    damage(root / "val_images.npz")
    with pytest.raises(ValueError, match=message):
        source(root).scan()


def test_archives_are_not_loaded(tmp_path):
    root = write_v2(tmp_path / "tiered")
    first = source(root).scan()[0].reference.images.images
    while isinstance(first, np.ndarray):
        first = first.base
    assert isinstance(first, mmap.mmap)


def test_published_split():
    splits = TieredImageNet.published
    parents = {name: parent for parent, _, *names in published_rows("tiered_imagenet.txt") for name in names}
    assert [list(splits.values()).count(split) for split in SPLITS] == [351, 97, 160]
    of = {split: {parents[name] for name, s in splits.items() if s == split} for split in SPLITS}
    assert [len(of[split]) for split in SPLITS] == [20, 6, 8]
    assert not of["train"] & of["val"]
    assert not (of["train"] | of["val"]) & of["test"]


def test_folders_of_imagenet(tmp_path):
    buffer = BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "JPEG")
    for name in TieredImageNet.published:
        (tmp_path / "imagenet" / name).mkdir(parents=True)
        (tmp_path / "imagenet" / name / "0.JPEG").write_bytes(buffer.getvalue())
    records = source(tmp_path / "imagenet").scan()
    assert {record.class_name: record.split for record in records} == TieredImageNet.published
