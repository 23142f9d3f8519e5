"""Small mini-ImageNet pickles in the real formats."""

import pickle

import numpy as np

from psst.datamodules.mini_imagenet import MiniImageNet
from tests.images.python2_pickles import python2

PUBLISHED = MiniImageNet.published
CLASSES = {
    split: [name for name, s in PUBLISHED.items() if s == split][:3] for split in ("train", "val", "test")
}
PER_CLASS = 5


def images(split, side=12):
    rng = np.random.default_rng({"train": 0, "val": 1, "test": 2}[split])
    return rng.integers(0, 256, (3 * PER_CLASS, side, side, 3), np.uint8)


def cache(split):
    """Classes take turns, so that a class is not one stretch of the array."""
    members = {name: list(range(i, 3 * PER_CLASS, 3)) for i, name in enumerate(CLASSES[split])}
    return {"image_data": images(split), "class_dict": members}


def write_caches(root, dump=pickle.dumps, val="val"):
    root.mkdir()
    for split, name in (("train", "train"), ("val", val), ("test", "test")):
        (root / f"mini-imagenet-cache-{name}.pkl").write_bytes(dump(cache(split)))
    return root


def categories(split, named):
    first = {"train": 0, "val": 64, "test": 80}[split]
    content = {"data": images(split), "labels": [first + i % 3 for i in range(3 * PER_CLASS)]}
    return content | (
        {"catname2label": {n: first + i for i, n in enumerate(CLASSES[split])}} if named else {}
    )


def write_categories(root, dump=pickle.dumps, named=True):
    root.mkdir()
    for split, part in (("train", "train_phase_train"), ("val", "val"), ("test", "test")):
        (root / f"miniImageNet_category_split_{part}.pickle").write_bytes(dump(categories(split, named)))
    for part in ("train_phase_val", "train_phase_test"):
        held_out = {"data": images("train"), "labels": [0] * 3 * PER_CLASS}
        (root / f"miniImageNet_category_split_{part}.pickle").write_bytes(dump(held_out))
    return root


WRITERS = {
    "python 2": python2,
    "learn2learn": lambda value: pickle.dumps(value, 2),
    "python 3": pickle.dumps,
}
