"""Map-style data sets: torchvision's, learn2learn's, and any other whose items are an image and a class."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import fit_image, to_pillow
from psst.images.files.paths import fingerprint, printable
from psst.images.source import SPLITS, UNLABELED, ImageRecord
from psst.images.sources.lists import SEEDED, assign_splits, read_rows

# where torchvision, learn2learn and others keep labels, pairs of a file and a label, files, names of classes
_LABELS = ("targets", "_labels", "labels", "y", "samples", "_samples", "data", "_flat_character_images")
_FILES = ("_image_files", "_images", "samples", "_samples", "_flat_character_images")
_CLASSES = ("classes", "categories", "_characters", "all_categories")
_LOOKED_AT = 16  # images, spread over all: to know the data set again


@dataclass
class MapStyleSource:
    """The images of data sets with ``len(data_set)`` and ``data_set[i] == (image, label)``.

    Labels below 0 mean no class. Images are as of `to_pillow`. Data sets are read by one thread at a time,
    but for torchvision's own.
    """

    data_sets: Mapping[str, Sequence[Any]]  # by split, pooled; under "" those whose classes are to be divided
    name: str
    channels: int = 3
    splits: str = SEEDED  # how to divide classes, see `assign_splits`
    split_seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)  # tell these from others of their name
    by_content: bool = True  # the content tells them, too; else they are made only to be stored
    make: Callable[[Any], Any] | None = None  # of what stands in place of a data set, when it is needed
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @cached_property
    def parts(self) -> "list[_LabeledItems]":
        """The data sets, made when first asked for."""
        given = [(item, split) for split, items in self.data_sets.items() for item in items]
        return [_LabeledItems(self.make(item) if self.make else item, split) for item, split in given]

    def key(self, size: int) -> dict[str, Any]:
        """The options and the division, and what can be known of the content without reading all of it."""
        contents = [(part.split, part.digest()) for part in self.parts] if self.by_content else []
        seeded = self.splits == SEEDED
        listed = self.split_seed if seeded else sorted({row[:2] for row in read_rows(self.splits)})
        return {**self.options, "channels": self.channels, "contents": contents, "splits": listed}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and position; see `Source.scan`."""
        classes: dict[tuple[str, str], list[tuple[int, int]]] = {}
        unlabeled: list[tuple[int, int]] = []
        for number, part in enumerate(self.parts):
            part.check()
            names = part.class_names()
            for name in names.values():
                classes.setdefault((part.split, name), [])
            for index, label in enumerate(part.labels):
                found = classes[part.split, names[label]] if label in names else unlabeled
                found.append((number, index))
        divided = [name for split, name in classes if not split]
        split_of = assign_splits(divided, self.splits, self.split_seed, self.name) if divided else {}
        return [
            ImageRecord(name, split, place)
            for split in SPLITS
            for (own, name), places in classes.items()
            if (own or split_of.get(name)) == split
            for place in places
        ] + [ImageRecord("", UNLABELED, place) for place in unlabeled]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        number, index = record.reference
        part = self.parts[number]
        # torchvision's own are made for several threads, but for FakeData, which sets the seed of the process
        kind = type(part.data)
        several = kind.__module__.startswith("torchvision.datasets.") and kind.__name__ != "FakeData"
        plain = getattr(part.data, "transforms", None) is None
        with nullcontext() if several and plain else self._lock:
            image = part.read(index)[0]
        try:
            return fit_image(to_pillow(image), size, self.channels)
        except (TypeError, ValueError, OSError) as error:  # Pillow's images are read as late as here
            raise ValueError(f"{part.title(index)} cannot be read: {error}.") from error


class _LabeledItems:
    """One data set of a ``split``, with ``len`` and ``(image, label)`` by index, or a Taskset of it."""

    def __init__(self, data: Any, split: str = "") -> None:
        inner = getattr(data, "dataset", None)
        self.data = data if inner is None or not hasattr(data, "task_transforms") else inner
        self.split = split
        if not (hasattr(self.data, "__len__") and hasattr(self.data, "__getitem__")):
            raise TypeError(
                f"`data.init_args.data_set` gives a {type(data).__name__}, which lacks `__len__` or "
                "`__getitem__`; it must give `(image, label)` by index."
            )

    def __str__(self) -> str:
        kind = f"{type(self.data).__module__}.{type(self.data).__qualname__}"
        return kind + (f" of split '{self.split}'" if self.split else "")

    def title(self, index: int) -> str:
        """Return the file of an item if it is known, or else its number, for messages."""
        return f"`{printable(str(self._files[index]))}`" if self._files else f"image {index} of {self}"

    @cached_property
    def labels(self) -> list[int | str]:
        """The label of each item, from a list that agrees with the first and the last, or from the items."""
        for listed in self._listed() if getattr(self.data, "target_transform", None) is None else ():
            if [_plain(item[1]) for item in self._ends] == [listed[0], listed[-1]]:
                return listed
        return [_plain(self.read(i)[1]) for i in range(len(self.data))]

    def class_names(self) -> dict[int | str, str]:
        """Return the name of each label in order, by the data set's list of names or the label itself."""
        known = {label for label in self.labels if isinstance(label, str) or label >= 0}
        labels = sorted(known, key=lambda label: (isinstance(label, str), label))
        for holder in (self.data, getattr(self.data, "dataset", None)):
            texts = _names(next((names for name in _CLASSES if (names := getattr(holder, name, None))), None))
            numbers = [label for label in labels if isinstance(label, int) and label < len(texts)]
            if texts and len(numbers) == len(labels):
                counts = Counter(texts)
                # equal names get their label behind them
                return {i: f"{texts[i]} ({i})" if counts[texts[i]] > 1 else texts[i] for i in numbers}
        return {label: f"{self.split}/{label}" if self.split else str(label) for label in labels}

    def check(self) -> None:
        """Raise ValueError unless items are an image and a class, and the first is twice the same."""
        if len(self.data) == 0:
            raise ValueError(f"{self} is empty; check its folder and arguments.")
        first = self._ends[0]
        try:
            image, label = first
            _plain(label)
            to_pillow(image)
        except (TypeError, ValueError, LookupError, OSError) as error:
            raise ValueError(f"the items of {self} are not an image and a class ({error}).") from error
        if _bytes(image) != _bytes(self.read(0)[0]):
            raise ValueError(
                f"{self} gives another image each time it is asked; take what is random out of its "
                "`transform`: the store keeps images as they are, and episodes augment them."
            )

    @cached_property
    def _ends(self) -> tuple[Any, Any]:
        """The first item and the last."""
        return self.read(0), self.read(len(self.data) - 1)

    def read(self, index: int) -> Any:
        """Return an item; ValueError if it cannot be read."""
        try:
            return self.data[index]
        except Exception as error:  # whatever the data set meets in a damaged file
            law = str(error) or type(error).__name__
            raise ValueError(f"{self.title(index)} cannot be read: {law}.") from error

    def digest(self) -> str:
        """Hash what tells this data set from others without reading it all: labels, files, some pixels."""
        count = len(self.data)
        described = [getattr(self.data, name, None) for name in ("transforms", "transform", *_CLASSES)]
        files = fingerprint((f"{path.parent.name}/{path.name}", path.stat()) for path in self._files)
        text = repr([type(self.data).__qualname__, count, described, list(self._listed()), files])
        # functions print where they are
        digest = hashlib.blake2b(re.sub(r" at 0x[0-9a-f]+", "", text).encode(), digest_size=16)
        pixels = getattr(self.data, "data", None)
        if hasattr(pixels, "__array__"):
            digest.update(np.ascontiguousarray(np.asarray(pixels)).data)
        for index in np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)).tolist():
            with suppress(ValueError):  # met again, and told, when it is stored
                digest.update(_bytes(self.read(index)[0]))
        return digest.hexdigest()

    def _listed(self) -> Iterator[list[int | str]]:
        """Yield what may be the labels of all items."""
        count, known = len(self.data), getattr(self.data, "labels_to_indices", None)
        if isinstance(known, Mapping):  # learn2learn's MetaDataset
            label_of = {int(i): label for label, items in known.items() for i in items}
            if label_of.keys() == set(range(count)):
                yield [_plain(label_of[i]) for i in range(count)]
        for name in _LABELS:
            found: Any = getattr(self.data, name, None)
            try:
                if getattr(found, "ndim", 1) == 1 and len(found) == count > 0:
                    entries = found.tolist() if hasattr(found, "tolist") else found
                    pair = tuple, list  # of a file and its label
                    yield [_plain(e[1] if isinstance(e, pair) and len(e) == 2 else e) for e in entries]
            except (TypeError, ValueError):  # a list of something else
                continue

    @cached_property
    def _files(self) -> list[Path]:
        """The file of each item, or nothing."""
        for name in _FILES:
            files = getattr(self.data, name, None)
            if isinstance(files, list) and len(files) == len(self.data):
                paths = [file[0] if isinstance(file, tuple) else file for file in files]
                if all(isinstance(path, str | Path) for path in paths) and Path(paths[0]).is_file():
                    return [Path(path) for path in paths]
        return []


def _names(given: Any) -> list[str]:
    """Return names of classes, of which each may be several synonyms; none where it is something else."""
    if not isinstance(given, list | tuple) or not all(isinstance(name, str | list | tuple) for name in given):
        return []
    return [printable(name if isinstance(name, str) else ", ".join(map(str, name))) for name in given]


def _bytes(image: Any) -> bytes:
    """Return what tells an image from others: type, shape and pixels."""
    pixels = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    return f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()


def _plain(label: Any) -> int | str:
    """Return a label as an integer or text, out of a tensor, a NumPy scalar or a whole float."""
    value = label.item() if hasattr(label, "item") and math.prod(np.shape(label)) == 1 else label
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int | str):
        return value
    raise ValueError(
        f"a label {value!r} of type {type(value).__name__}; one class an image is needed, as a number or text"
    )
