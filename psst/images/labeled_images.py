"""A split of a store as an ordinary PyTorch data set, for other libraries."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from psst.images.store import ImageStore


class LabeledImages(Dataset[tuple[Any, int]]):
    """Items ``(image, label)``: floats in [0, 1], ``[C, H, W]``, and the number of the class in its split.

    For learn2learn: ``MetaDataset(images, labels_to_indices=images.labels_to_indices)``. It pickles as the
    folder of the store, so that workers may be spawned.

    Args:
        store: holds the images.
        split: "train", "val" or "test".
        transform: called with each image; None for the image itself.

    Attributes:
        classes: name of each label.
        targets: label of each item.
        labels_to_indices: items of each label.

    Raises:
        ValueError: there is no such split.
    """

    def __init__(
        self, store: ImageStore, split: str, transform: Callable[[Tensor], Any] | None = None
    ) -> None:
        if split not in store.splits:
            raise ValueError(f"`split={split}` is none of {', '.join(store.splits)} of {store.folder}.")
        self.store, self.split, self.transform = store, split, transform
        self.classes = [store.class_names[class_id] for class_id in store.splits[split]]
        self._ids: list[int] = []
        self.targets: list[int] = []
        self.labels_to_indices: dict[int, list[int]] = {}
        for label, class_id in enumerate(store.splits[split]):
            ids = store.image_ids(int(class_id)).tolist()
            self.labels_to_indices[label] = list(range(len(self._ids), len(self._ids) + len(ids)))
            self._ids += ids
            self.targets += [label] * len(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one image and its label."""
        pixels = torch.from_numpy(self.store.images[self._ids[index]].copy())
        image = pixels.permute(2, 0, 1).contiguous().float() / 255
        return (image if self.transform is None else self.transform(image)), self.targets[index]
