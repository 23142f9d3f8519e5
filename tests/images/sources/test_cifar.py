"""CIFAR-FS and FC100: CIFAR-100 for Python, pickles, folders and zip archives."""

import pickle
import zipfile

import numpy as np
import pytest

from psst.datamodules.cifar_100 import FC100, CifarFS
from psst.images.build import build_store
from psst.images.sources.layout import Layout, published_rows
from tests.datamodules.stores import content
from tests.images.python2_pickles import python2
from tests.images.sources.cifar_files import (
    NAMES,
    batch,
    images,
    to_archive,
    write_cifar100,
    write_pickles,
    write_zip,
)

DATA_SETS = {"cifar_fs": (CifarFS.layouts, CifarFS.published), "fc100": (FC100.layouts, FC100.published)}


def source(root, name="cifar_fs"):
    return Layout.choose(root, DATA_SETS[name][0], name).source(root)


def splits_of(store):
    return {store.class_names[i]: split for split, ids in store.splits.items() for i in ids}


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("dump", [python2, pickle.dumps])
def test_cifar_100_pooled(tmp_path, name, dump):
    root = write_cifar100(tmp_path / "data", dump)
    store = build_store(source(root, name), 32, tmp_path / "cache", workers=2)
    assert splits_of(store) == DATA_SETS[name][1]
    pooled = np.concatenate([images(0), images(1)])
    for class_id, label in enumerate(store.class_names):
        expected = pooled[NAMES.index(label) :: 100]
        np.testing.assert_array_equal(store.images[store.image_ids(class_id)], expected)


def test_archive_and_folder_give_the_same_store(tmp_path):
    root = write_cifar100(tmp_path / "data")
    folder = build_store(source(root), 16, tmp_path / "cache")
    archive = build_store(source(to_archive(root)), 16, tmp_path / "cache")
    assert archive.folder != folder.folder
    assert content(archive) == content(folder)


def test_root_may_be_the_folder_itself(tmp_path):
    root = write_cifar100(tmp_path / "data") / "cifar-100-python"
    assert len(source(root).scan()) == 400


def test_published_splits():
    for name, sizes in (("cifar_fs", [64, 16, 20]), ("fc100", [60, 20, 20])):
        values = list(DATA_SETS[name][1].values())
        assert [values.count(split) for split in ("train", "val", "test")] == sizes
    parents = {name: parent for name, parent, *_ in published_rows("cifar100.txt")}
    assert len(set(parents.values())) == 20
    for parent in set(parents.values()):
        children = [name for name in parents if parents[name] == parent]
        assert len(children) == 5
        assert len({FC100.published[name] for name in children}) == 1


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("train", {"data": images(0)}, r"`data` of .*train` is \[200, 32, 32, 3\]; expected \[n, 3072\]"),
        ("train", {"data": batch(0)["data"].astype(float)}, "of type float64; expected"),
        ("test", {"fine_labels": [0] * 199}, "holds 200 images, with 199 labels"),
        ("test", {"fine_labels": [100] * 200}, "labels outside 0 to 99"),
        ("test", {"fine_labels": None}, "are a NoneType; expected a list of whole numbers"),
        ("meta", {"fine_label_names": ["cat", *NAMES[1:]]}, "not those of CIFAR-100, first: apple"),
    ],
)
def test_wrong_content_is_named(tmp_path, part, change, message):
    root = write_cifar100(tmp_path / "data")
    path = root / "cifar-100-python" / part
    content = {"fine_label_names": NAMES} if part == "meta" else batch(0)
    path.write_bytes(pickle.dumps(content | change))
    with pytest.raises(ValueError, match=message):
        source(root).scan()


def test_missing_part_is_named(tmp_path):
    root = write_cifar100(tmp_path / "data")
    (root / "cifar-100-python" / "test").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar-100-python` lacks the file test; get `cifar-100-py"):
        source(root).scan()


def test_damaged_archive_is_named(tmp_path):
    root = to_archive(write_cifar100(tmp_path / "data"))
    path = root / "cifar-100-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"cifar-100-python.tar.gz"):
        source(root).scan()


@pytest.mark.parametrize("dump", [python2, pickle.dumps])
@pytest.mark.parametrize(("name", "stem"), [("cifar_fs", "CIFAR_FS"), ("fc100", "FC100")])
def test_pickles_numbered_as_cifar_100_get_its_names(tmp_path, name, stem, dump):
    splits = DATA_SETS[name][1]
    root = write_pickles(tmp_path / "data", stem, splits, NAMES.index, dump)
    store = build_store(source(root, name), 32, tmp_path / "cache")
    assert splits_of(store) == splits
    first = store.class_names.index(next(name for name in NAMES if splits[name] == "val"))
    np.testing.assert_array_equal(store.images[store.image_ids(first)][0], images(1)[0])


def test_pickles_numbered_in_another_way_get_numbers(tmp_path):
    splits = CifarFS.published
    place = {n: i for s in set(splits.values()) for i, n in enumerate(n for n in NAMES if splits[n] == s)}
    root = write_pickles(tmp_path / "data", "CIFAR_FS", splits, place.get, python2)
    store = build_store(source(root), 32, tmp_path / "cache")
    assert len(store.class_names) == 100
    assert splits_of(store)["val/15"] == "val"


def test_fc100_is_not_taken_for_cifar_fs(tmp_path):
    root = write_pickles(tmp_path / "data", "FC100", FC100.published, NAMES.index, python2)
    with pytest.raises(FileNotFoundError, match=r"CIFAR-FS needs one of: .*CIFAR_FS_train.pickle"):
        Layout.choose(root, CifarFS.layouts, "CIFAR-FS")


@pytest.mark.parametrize("unpacked", [False, True])
def test_archive_of_the_authors(tmp_path, unpacked):
    root = write_zip(tmp_path / "data")
    if unpacked:
        with zipfile.ZipFile(root / "cifar100.zip") as archive:
            archive.extractall(root)
        (root / "cifar100.zip").unlink()
    store = build_store(source(root), 32, tmp_path / "cache")
    assert splits_of(store) == CifarFS.published
    for class_id, name in enumerate(store.class_names):
        expected = [[NAMES.index(name), 0, 0], [NAMES.index(name), 1, 0]]
        assert store.images[store.image_ids(class_id)][:, 5, 5].tolist() == expected


def test_class_without_images_is_named(tmp_path):
    root = write_zip(tmp_path / "data")
    with zipfile.ZipFile(root / "cifar100.zip") as archive:
        archive.extractall(root)
    (root / "cifar100.zip").unlink()
    for path in (root / "cifar100" / "data" / "train").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 100 classes of cifar_fs .* first: train;"):
        source(root).scan()
