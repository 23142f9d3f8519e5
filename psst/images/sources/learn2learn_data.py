"""Data sets in learn2learn's manner, or any other that gives ``(image, label)``."""

import hashlib
import json
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import fit_image
from psst.images.pixels import has_floats, largest, to_pillow
from psst.images.source import SPLITS, ImageRecord
from psst.images.sources.labels import LabeledItems
from psst.images.sources.lists import SEEDED, SPLIT_NAMES, assign_splits, read_lists
from psst.images.sources.made_data_sets import MadeDataSets

_LOOKED_AT, _DIGESTED = 16, 128  # images of a data set, to learn what they are like, and to know it again


class Learn2LearnSource:
    """Data sets with ``len``, and ``(image, label)`` by index; or Tasksets, of which the data sets are taken.

    Classes are found in `labels_to_indices` (MetaDataset), else in the usual lists of labels (``targets``,
    ``labels``, ``y``, ``samples``, ``data``) where these agree with the items, else by going through all
    items. They are named after ``classes`` of the data set if it has them, else after their labels.

    Images are read one at a time, for data sets need not stand threads.

    Args:
        data_sets: one of each split, ``{"train": ..., "val": ..., "test": ...}`` (or "validation"), or one
            whose classes are divided; objects, or a `MadeDataSets` that makes them when they are needed.
        name: short, part of the name of the store.
        channels: 1 for grayscale, 3 for color.
        splits: how to divide the classes of one data set: "seeded" (64:16:20), or the path of lists.
        split_seed: of the seeded division.

    Raises:
        ValueError: a split is missing or unknown.
    """

    def __init__(
        self,
        data_sets: Any,
        name: str = "learn2learn",
        channels: int = 3,
        splits: str = SEEDED,
        split_seed: int = 0,
    ) -> None:
        self.name = name
        self.channels = channels
        self.splits = splits
        self.split_seed = split_seed
        self._given = data_sets if isinstance(data_sets, MadeDataSets) else _by_split(data_sets)
        self._opened: dict[str, LabeledItems] = {}
        self._white: float | None = None
        self._lock = Lock()

    def key(self, size: int) -> dict[str, Any]:
        """How the data sets are made; of finished ones their labels and some of their images.

        Files below a data set's root do not count: once they have changed, delete the store.
        """
        if isinstance(self._given, MadeDataSets):
            content: Any = self._given.description
        else:
            content = {split: items.digest(_DIGESTED) for split, items in self._data().items()}
        return {"data_sets": content, "channels": self.channels, **self._division()}

    def scan(self) -> list[ImageRecord]:
        """List the images by split and class; see `Source.scan`."""
        found: dict[str, dict[str, list[int]]] = {}
        for split, items in self._data().items():
            if not items.by_label:
                raise ValueError(f"split '{split}' of {self.name} is an empty data set.")
            names = items.class_names() or [
                f"{split}/{label}" if self._has_splits else str(label) for label in items.by_label
            ]
            found[split] = dict(zip(names, items.by_label.values(), strict=True))
        if self._has_splits:
            places = [(name, split, split) for split in SPLITS for name in found[split]]
        else:
            (only,) = found
            of = assign_splits(found[only], self.splits, self.split_seed, self.name)
            places = sorted(((name, of[name], only) for name in of), key=lambda place: SPLITS.index(place[1]))
        return [
            ImageRecord(name, split, (holder, index))
            for name, split, holder in places
            for index in found[holder][name]
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        holder, index = record.reference
        try:
            with self._lock:
                white = self._white_level()
                image = self._data()[holder].data[index][0]
            return fit_image(to_pillow(image, white), size, self.channels)
        except Exception as error:  # whatever a data set raises where its files are damaged
            raise ValueError(
                f"image {index} of the {holder} data set of {self.name} cannot be read: "
                f"{error or type(error).__name__}."
            ) from error

    @property
    def _has_splits(self) -> bool:
        return len(self._given) > 1

    def _division(self) -> dict[str, Any]:
        """Return what decides the splits."""
        if self._has_splits:
            return {}
        if self.splits == SEEDED:
            return {"splits": SEEDED, "split_seed": self.split_seed}
        listed = json.dumps(read_lists(self.splits), sort_keys=True).encode()
        return {"splits": hashlib.blake2b(listed, digest_size=16).hexdigest()}

    def _data(self) -> dict[str, LabeledItems]:
        if not self._opened:
            self._opened = {split: LabeledItems(data) for split, data in self._given.items()}
        return self._opened

    def _white_level(self) -> float:
        """Learn from some images whether floats go to 1 or to 255."""
        if self._white is None:
            samples = (image for items in self._data().values() for _, image in items.samples(_LOOKED_AT))
            self._white = 255.0 if any(has_floats(image) and largest(image) > 1 for image in samples) else 1.0
        return self._white


def _by_split(data_sets: Any) -> dict[str, Any]:
    """Return the data sets by PSST's names of the splits; one that is to be divided as "all"."""
    if not isinstance(data_sets, Mapping):
        return {"all": data_sets}
    named = {SPLIT_NAMES.get(str(split), str(split)): data for split, data in data_sets.items()}
    if set(named) != set(SPLITS) or len(named) != len(data_sets):
        raise ValueError(
            f"`data.init_args.data_set` has the splits {', '.join(map(str, data_sets))}; give one data set "
            f"each for {', '.join(SPLITS)}, or a single one, whose classes are then divided."
        )
    return {split: named[split] for split in SPLITS}
