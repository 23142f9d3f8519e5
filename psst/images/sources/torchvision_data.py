"""Data sets of torchvision, and any other whose items are an image and a class."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import fit_image
from psst.images.source import SPLITS, UNLABELED, ImageRecord
from psst.images.sources.items import (
    as_image,
    check_items,
    class_names,
    content_hash,
    item_title,
    list_labels,
)
from psst.images.sources.lists import SEEDED, assign_splits, read_lists


class TorchvisionSource:
    """The images of data sets with ``len(data_set)`` and ``data_set[i] == (image, label)``, pooled.

    An image is Pillow's, a tensor ``[C, H, W]`` or an array ``[H, W, C]``, of uint8 or in [0, 1]. A label
    below 0 means no class. Classes are named by the ``classes`` of a data set, else ``class07``.

    Args:
        data_sets: one or several, or a function that returns them and is called when they are needed.
        name: of the data set.
        channels: 1 for grayscale, 3 for color.
        splits: "seeded", or the path of lists of class names, see `read_lists`.
        split_seed: of a seeded division.
        options: plain values that tell this source from others of its name.
    """

    def __init__(
        self,
        data_sets: Sequence[Any] | Callable[[], Sequence[Any]],
        name: str = "torchvision",
        channels: int = 3,
        splits: str = SEEDED,
        split_seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.channels = channels
        self.splits = splits
        self.split_seed = split_seed
        self.options = dict(options or {})
        self._given = data_sets
        self._lock = threading.Lock()

    @cached_property
    def data_sets(self) -> Sequence[Any]:
        """The data sets, made when first asked for."""
        return self._given() if callable(self._given) else self._given

    def key(self, size: int) -> dict[str, Any]:
        """The options, the classes, and labels and files or pixels as far as they are at hand."""
        listed = self.split_seed if self.splits == SEEDED else read_lists(self.splits)
        contents = [content_hash(data_set) for data_set in self.data_sets]
        return {**self.options, "contents": contents, "splits": listed}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and position; see `Source.scan`.

        Raises:
            ValueError: items are not an image and a class, or change from one look to the next.
        """
        found: list[tuple[str, tuple[int, int]]] = []
        for part, data_set in enumerate(self.data_sets):
            check_items(data_set)
            labels = list_labels(data_set)
            names = class_names(data_set, max(labels))
            found += [(names[label] if label >= 0 else "", (part, i)) for i, label in enumerate(labels)]
        classes = sorted({name for name, _ in found if name})
        split_of = assign_splits(classes, self.splits, self.split_seed, self.name)
        labeled = [(SPLITS.index(split_of[name]), name, place) for name, place in found if name in split_of]
        records = [ImageRecord(name, SPLITS[split], place) for split, name, place in sorted(labeled)]
        return records + [ImageRecord("", UNLABELED, place) for name, place in found if not name]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        part, position = record.reference
        data_set = self.data_sets[part]
        try:
            with self._alone(data_set):
                image = data_set[position][0]
            return fit_image(as_image(image), size, self.channels)
        except Exception as error:  # whatever the data set meets in a damaged file
            raise ValueError(f"{item_title(data_set, position)} cannot be read: {error}.") from error

    def _alone(self, data_set: Any) -> AbstractContextManager[Any]:
        """Return what keeps other threads out of a data set that may not be made for several."""
        ours = type(data_set).__module__.startswith("torchvision.datasets.")
        plain = getattr(data_set, "transforms", None) is None
        seeding = type(data_set).__name__ == "FakeData"  # sets the seed of the whole process
        return nullcontext() if ours and plain and not seeding else self._lock
