"""The adapter against learn2learn itself, on data in its real formats; `make test-learn2learn` runs it."""

import pickle
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from psst.episodes import Episodes, Evaluation

pytest.importorskip("learn2learn.data")  # this folder alone is no library

from learn2learn.data import FilteredMetaDataset, MetaDataset, Taskset, UnionMetaDataset
from learn2learn.data.transforms import KShots, LoadData, NWays

from psst.commands.data import prepare
from psst.datamodules.map_style import Learn2Learn

MODES = {"train": 5, "validation": 3, "test": 4}
SPLITS = {"train": "train", "validation": "val", "test": "test"}
PER_CLASS = 6
SETTINGS = {"episodes": Episodes(way=2, query=3), "evaluation": Evaluation(way=2, query=3)}
DATA_SETS = "learn2learn.vision.datasets"


def pictures(mode, size):
    """``[classes, PER_CLASS, size, size, 3]`` of noise."""
    rng = np.random.default_rng(list(MODES).index(mode))
    return rng.integers(0, 256, (MODES[mode], PER_CLASS, size, size, 3)).astype(np.uint8)


def png(array):
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def folders(root, mode, size=8):
    """``class/item.png``"""
    for label, images in enumerate(pictures(mode, size)):
        for item, image in enumerate(images):
            path = root / f"{mode}_{label}" / f"{item}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
    return root


def check(store, size):
    """All images of all classes are there, in order, to the last bit."""
    for mode, split in SPLITS.items():
        expected = pictures(mode, size)
        assert len(store.splits[split]) == len(expected)
        for images, class_id in zip(expected, store.splits[split], strict=True):
            assert np.array_equal(store.images[store.image_ids(int(class_id))], images)


def stored(tmp_path, data_set, init_args=None, size=8, **options):
    cache = str(tmp_path / "cache")
    return prepare(Learn2Learn(data_set, init_args, size=size, cache_dir=cache, **SETTINGS, **options))


def test_mini_imagenet(tmp_path):
    for mode in MODES:
        images = pictures(mode, 84)
        places = np.arange(images.shape[0] * PER_CLASS).reshape(-1, PER_CLASS)
        content = {
            "image_data": images.reshape(-1, 84, 84, 3),
            "class_dict": {f"n{mode}{label}": list(map(int, items)) for label, items in enumerate(places)},
        }
        (tmp_path / f"mini-imagenet-cache-{mode}.pkl").write_bytes(pickle.dumps(content))
    store = stored(tmp_path, f"{DATA_SETS}.MiniImagenet", {"root": str(tmp_path)}, 84)
    check(store, 84)
    assert store.meta["source"] == "miniimagenet"


def test_fc100(tmp_path):
    for mode in MODES:
        images = pictures(mode, 32)
        labels = [label for label in range(len(images)) for _ in range(PER_CLASS)]
        content = {"data": images.reshape(-1, 32, 32, 3), "labels": labels}
        short = "val" if mode == "validation" else mode
        (tmp_path / f"FC100_{short}.pickle").write_bytes(pickle.dumps(content))
    check(stored(tmp_path, f"{DATA_SETS}.FC100", {"root": str(tmp_path)}, 32), 32)


def test_tiered_imagenet(tmp_path):
    folder = tmp_path / "tiered-imagenet"
    folder.mkdir()
    for mode in MODES:
        images = pictures(mode, 16)
        encoded = [np.frombuffer(png(image), np.uint8) for of_class in images for image in of_class]
        labels = {"label_specific": [label for label in range(len(images)) for _ in range(PER_CLASS)]}
        short = "val" if mode == "validation" else mode
        (folder / f"{short}_images_png.pkl").write_bytes(pickle.dumps(encoded))
        (folder / f"{short}_labels.pkl").write_bytes(pickle.dumps(labels))
    check(stored(tmp_path, f"{DATA_SETS}.TieredImagenet", {"root": str(tmp_path)}, 16), 16)


def test_cifar_fs_with_its_class_names(tmp_path):
    raw = tmp_path / "cifarfs" / "cifar100"
    lists = raw / "splits" / "bertinetto"
    lists.mkdir(parents=True)
    for mode in MODES:
        folders(raw / "data", mode, 32)
        short = "val" if mode == "validation" else mode
        (lists / f"{short}.txt").write_text("".join(f"{mode}_{label}\n" for label in range(MODES[mode])))
    modes = {"train": "train", "val": "validation", "test": "test"}
    store = stored(tmp_path, f"{DATA_SETS}.CIFARFS", {"root": str(tmp_path)}, 32, modes=modes)
    check(store, 32)
    assert store.class_names[:2] == ["train_0", "train_1"]


def test_metadatasets_and_tasksets(tmp_path):
    meta = {mode: MetaDataset(ImageFolder(str(folders(tmp_path / mode, mode)))) for mode in MODES}
    check(stored(tmp_path, meta), 8)
    check(stored(tmp_path, {mode: Taskset(data) for mode, data in meta.items()}), 8)
    pairs = [NWays(meta["train"], 2), KShots(meta["train"], 2), LoadData(meta["train"])]
    check(stored(tmp_path, {**meta, "train": Taskset(meta["train"], pairs, num_tasks=10)}), 8)
    assert len(list((tmp_path / "cache").glob("learn2learn-8-*/meta.json"))) == 1


def test_a_union_is_divided(tmp_path):
    union = UnionMetaDataset([ImageFolder(str(folders(tmp_path / mode, mode))) for mode in MODES])
    store = stored(tmp_path, union)
    assert sorted(store.class_names, key=int) == [str(label) for label in range(12)]
    assert len(store.images) == 12 * PER_CLASS


def test_filtered_data_sets_of_one(tmp_path):
    everything = UnionMetaDataset([ImageFolder(str(folders(tmp_path / mode, mode))) for mode in MODES])
    parts, first = {}, 0
    for mode, count in MODES.items():
        parts[mode] = FilteredMetaDataset(everything, list(range(first, first + count)))
        first += count
    store = stored(tmp_path, parts)
    check(store, 8)
    assert store.class_names[-1] == "test/11"
