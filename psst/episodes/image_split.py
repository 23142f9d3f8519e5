"""The images that evaluation embeds."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from psst.episodes.counters import Ids
from psst.episodes.reading import Reader, read_images
from psst.images.store import ImageStore


class ImageSplit(Dataset[dict[str, Tensor]]):
    """Every image of a split once, ordered by class.

    Items are ``{"image": [C, H, W] uint8, "label": class id, "image_id": position in the store}``.

    Args:
        store: holds the images.
        split: its name.
        read: turns image ids into what an item holds.
    """

    def __init__(self, store: ImageStore, split: str, read: Reader = read_images) -> None:
        self.store, self.split, self.read = store, split, read
        ids = [store.image_ids(int(class_id)) for class_id in store.splits[split]]
        self.image_ids: Ids = np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        ids = self.image_ids[[item]]
        return {
            "image": self.read(self.store, ids)[0],
            "label": torch.tensor(self.store.labels[ids][0]),
            "image_id": torch.tensor(ids[0]),
        }
