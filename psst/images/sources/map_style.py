"""Map-style data sets: torchvision's, learn2learn's, and any other whose items are an image and a class."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import fit_image
from psst.images.pixels import to_pillow
from psst.images.source import SPLITS, UNLABELED, ImageRecord
from psst.images.sources.labeled_items import LabeledItems
from psst.images.sources.lists import SEEDED, assign_splits, read_rows


@dataclass
class MapStyleSource:
    """The images of data sets with ``len(data_set)`` and ``data_set[i] == (image, label)``.

    Labels below 0 mean no class. Images may be Pillow's, or arrays or tensors of uint8, or of floats up to 1
    or up to 255. Data sets are read by one thread at a time, but for torchvision's own.

    Args:
        data_sets: split -> data sets that are pooled; under "" those whose classes are to be divided.
        name: of the data set.
        channels: 1 for grayscale, 3 for color.
        splits: how to divide classes, see `assign_splits`.
        split_seed: of a seeded division.
        options: plain values that tell these data sets from others of their name.
        by_content: the content tells them, too; else they are made only to be stored.
        make: makes a data set, when it is needed, of what stands in its place in ``data_sets``.

    Example:
        ``MapStyleSource({"": [torchvision.datasets.CIFAR100("data")]}, "cifar100").scan()``
    """

    data_sets: Mapping[str, Sequence[Any]]
    name: str
    channels: int = 3
    splits: str = SEEDED
    split_seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    by_content: bool = True
    make: Callable[[Any], Any] | None = None
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @cached_property
    def parts(self) -> list[LabeledItems]:
        """The data sets, made when first asked for."""
        given = [(item, split) for split, items in self.data_sets.items() for item in items]
        return [LabeledItems(self.make(item) if self.make else item, split) for item, split in given]

    def key(self, size: int) -> dict[str, Any]:
        """The options and the division, and what can be known of the content without reading all of it."""
        contents = [(part.split, part.digest()) for part in self.parts] if self.by_content else []
        seeded = self.splits == SEEDED
        listed = self.split_seed if seeded else sorted({row[:2] for row in read_rows(self.splits)})
        return {**self.options, "channels": self.channels, "contents": contents, "splits": listed}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and position; see `Source.scan`.

        Raises:
            ValueError: items are not an image and a class, or change from one look to the next.
        """
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
        with self._alone(part.data):
            image = part.read(index)[0]
        try:
            return fit_image(to_pillow(image), size, self.channels)
        except (TypeError, ValueError, OSError) as error:  # Pillow's images are read as late as here
            raise ValueError(f"{part.title(index)} cannot be read: {error}.") from error

    def _alone(self, data_set: Any) -> AbstractContextManager[Any]:
        """Return what keeps other threads out of a data set that may not be made for several."""
        ours = type(data_set).__module__.startswith("torchvision.datasets.")
        plain = getattr(data_set, "transforms", None) is None
        seeding = type(data_set).__name__ == "FakeData"  # sets the seed of the whole process
        return nullcontext() if ours and plain and not seeding else self._lock

    @staticmethod
    def maker(make: Callable[..., Any], path: str, advice: str) -> Callable[[Mapping[str, Any]], Any]:
        """Return a function that makes a data set of the class at the user's ``path`` with some arguments.

        It raises FileNotFoundError if files are not there, with ``advice`` how to get them, and ValueError
        for arguments of no use.
        """

        def make_one(given: Mapping[str, Any]) -> Any:
            shown = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "no arguments"
            try:
                return make(**given)
            except (RuntimeError, OSError) as error:
                raise FileNotFoundError(
                    f"`data.init_args.data_set={path}` with {shown} cannot be opened: {error} {advice}"
                ) from error
            except Exception as error:  # whatever the other library raises
                raise ValueError(
                    f"`data.init_args.data_set={path}` does not take {shown}: {type(error).__name__}: "
                    f"{error}; it takes {inspect.signature(make)}."
                ) from error

        return make_one

    @staticmethod
    def find_class(path: str, home: str = "") -> Callable[..., Any]:
        """Return the class at a class path, or of a plain name in ``home``; ValueError if there is none."""
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module or home), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"`data.init_args.data_set={path}` cannot be imported ({error}); check its spelling, install "
                "its library, and give the path of a class, for example torchvision.datasets.CIFAR100."
            ) from error
        if not callable(found):
            raise ValueError(f"`data.init_args.data_set={path}` is a {type(found).__name__}, not a class.")
        return found  # type: ignore[no-any-return]  # the user's class
