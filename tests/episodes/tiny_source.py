"""A data set in memory: image i of class c is constant, so that pixels tell where they come from."""

from pathlib import Path

import numpy as np

from psst.datamodules import EpisodicDataModule
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
                name = f"{split}{i}"
                records += [ImageRecord(name, split, len(records) + j, group) for j in range(count)]
        return records

    def decode(self, record: ImageRecord, size: int) -> np.ndarray:
        """Pixels spell the image id in base 256; the last channel its high digit."""
        image = np.full((size, size, self.channels), record.reference % 256, dtype=np.uint8)
        image[..., -1] = record.reference // 256 if self.channels > 1 else record.reference % 256
        return image


SIZES = {"train": [9, 8, 12, 9, 30, 8], "val": [10, 9, 11, 10], "test": [10, 9, 9, 12, 10]}


class Tiny(EpisodicDataModule):
    def __init__(self, cache_dir: str | Path, sizes=None, groups=None, **settings):
        self.sizes, self.groups = sizes or SIZES, groups
        defaults = {"n_way": 3, "n_shot": 2, "n_query": 4, "eval_way": 3, "eval_query": 5, "val_episodes": 20}
        settings = {"size": 4, "test_episodes": 30, "episodes_per_epoch": 5} | defaults | settings
        super().__init__(cache_dir=str(cache_dir), **settings)

    def source(self) -> TinySource:
        return TinySource(self.sizes, groups=self.groups)


def ready(*args, **settings) -> Tiny:
    """A module after `prepare_data` and `setup`."""
    module = Tiny(*args, **settings)
    module.prepare_data()
    module.setup()
    return module
