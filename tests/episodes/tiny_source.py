"""A data set in memory: image i of class c is constant, so that pixels tell where they come from."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from psst.datamodules import EpisodicDataModule
from psst.episodes import Episodes, Evaluation
from psst.images import ImageRecord


class TinySource:
    name = "tiny"

    def __init__(
        self, sizes: dict[str, list[int]], channels: int = 3, groups: dict[str, list[str]] | None = None
    ):
        self.sizes, self.channels, self.groups = sizes, channels, groups or {}

    def key(self, size: int) -> dict:
        return {"sizes": self.sizes, "channels": self.channels, "groups": self.groups}

    def scan(self) -> list[ImageRecord]:
        records = []
        for split, counts in self.sizes.items():
            for i, count in enumerate(counts):
                group = self.groups[split][i] if split in self.groups else None
                name = "" if split == "unlabeled" else f"{split}{i}"
                records += [ImageRecord(name, split, len(records) + j, group) for j in range(count)]
        return records

    def decode(self, record: ImageRecord, size: int) -> np.ndarray:
        """Pixels spell the image id in base 256; the last channel its high digit."""
        image = np.full((size, size, self.channels), record.reference % 256, dtype=np.uint8)
        image[..., -1] = record.reference // 256 if self.channels > 1 else record.reference % 256
        return image


SIZES = {"train": [9, 8, 12, 9, 30, 8], "val": [10, 9, 11, 10], "test": [10, 9, 9, 12, 10]}
KINDS = {  # settings of every kind of training stream
    "plain": {},
    "several": {"episodes": {"per_batch": 3}},
    "varied": {"episodes": {"way": (2, 5), "shot": (1, 3), "per_batch": 2}},
    "unbalanced": {"episodes": {"balance": 1.0}},
    "unlabeled": {"n_unlabeled": 5, "episodes": {"per_batch": 2}},
    "grouped": {"groups": {"train": ["A", "A", "B", "B", "B", "B"]}},
    "classes": {"batches": "classes", "batch_size": 9},
    "mixed": {"batches": "mixed", "batch_size": 9, "n_unlabeled": 4},
}


class Tiny(EpisodicDataModule):
    """`episodes` and `evaluation` are what differs from small defaults."""

    def __init__(
        self, cache_dir: str | Path, sizes=None, groups=None, episodes=None, evaluation=None, **settings
    ):
        self.sizes, self.groups = sizes or SIZES, groups
        settings = {"size": 4} | settings
        super().__init__(
            cache_dir=str(cache_dir),
            episodes=Episodes(**{"way": 3, "shot": 2, "query": 4, "per_epoch": 5} | (episodes or {})),
            evaluation=Evaluation(
                **{"way": 3, "query": 5, "val_episodes": 20, "test_episodes": 30} | (evaluation or {})
            ),
            **settings,
        )

    def source(self) -> TinySource:
        return TinySource(self.sizes, groups=self.groups)


def kind_of(kind: str, cache_dir: str | Path, **settings) -> Tiny:
    """A module whose training stream is of this kind, not set up; the store has unlabeled images."""
    settings = KINDS[kind] | settings
    settings["episodes"] = KINDS[kind].get("episodes", {}) | settings.get("episodes", {})
    return Tiny(cache_dir, sizes=SIZES | {"unlabeled": [12]}, **settings)


def digest(batch) -> str:
    """All tensors of a batch, bit by bit, and its numbers."""
    found = hashlib.blake2b(digest_size=8)
    for name in ("ids", "labels", "index", "shape", "targets", "n_unlabeled", "pixels"):
        value = getattr(batch, name)
        content = (value.dtype, value.shape, value.tolist()) if isinstance(value, torch.Tensor) else value
        found.update(repr((name, content)).encode())
    return found.hexdigest()


def ready(*args, **settings) -> Tiny:
    """A module after `prepare_data` and `setup`."""
    module = Tiny(*args, **settings)
    module.prepare_data()
    module.setup()
    return module
