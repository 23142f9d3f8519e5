"""The labels of data sets that give ``(image, label)``, without reading all images where they tell."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from psst.images.pixels import pixel_bytes

_LISTS = ("targets", "labels", "y", "samples", "data")


class LabeledItems:
    """A data set by its labels.

    Args:
        data: with ``len``, and ``(image, label)`` by index; or learn2learn's Taskset of such a one.

    Attributes:
        data: the data set.
        by_label: items of each label, both in order.

    Raises:
        TypeError: it has no length, or no items.
        ValueError: a label is no single number or text.
    """

    def __init__(self, data: Any) -> None:
        self.data = _unwrapped(data)
        known = getattr(self.data, "labels_to_indices", None)
        if isinstance(known, Mapping):
            found = {plain(label): sorted(map(int, items)) for label, items in known.items() if len(items)}
        else:
            found = {}
            for index, label in enumerate(_labels(self.data)):
                found.setdefault(label, []).append(index)
        numbers = all(isinstance(label, int) for label in found)
        ordered = sorted(found.items(), key=lambda pair: pair[0] if numbers else str(pair[0]))
        self.by_label: dict[int | str, list[int]] = dict(ordered)

    def class_names(self) -> list[str] | None:
        """Return the name of each label, by the list ``classes`` of the data set or of the one inside it."""
        for holder in (self.data, getattr(self.data, "dataset", None)):
            classes = getattr(holder, "classes", None)
            if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
                numbers = [label for label in self.by_label if isinstance(label, int)]
                fit = all(0 <= label < len(classes) for label in numbers)
                if fit and len(numbers) == len(self.by_label) and len(set(classes)) == len(classes):
                    return [classes[label] for label in numbers]
        return None

    def samples(self, count: int) -> Iterator[tuple[int, Any]]:
        """Yield index and image of `count` items spread over all; a damaged one is left out."""
        items = sorted(item for of_label in self.by_label.values() for item in of_label)
        for place in sorted({int(i) for i in np.linspace(0, len(items) - 1, min(len(items), count))}):
            try:
                yield items[place], self.data[items[place]][0]
            except Exception:  # met again, and told, when it is stored
                continue

    def digest(self, count: int) -> str:
        """Hash the labels, and the pixels of `count` items.

        Raises:
            ValueError: an item is another image when it is read again.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([(str(label), items) for label, items in self.by_label.items()]).encode())
        for index, image in self.samples(count):
            pixels = pixel_bytes(image)
            if pixels != pixel_bytes(self.data[index][0]):
                raise ValueError(
                    f"item {index} of the {type(self.data).__name__} in `data.init_args.data_set` is another "
                    "image each time; take what is random out of its `transform`: PSST augments by itself."
                )
            digest.update(pixels)
        return digest.hexdigest()


def plain(label: Any) -> int | str:
    """Return a label as an integer or text, out of a tensor, a NumPy scalar or a whole float.

    Raises:
        ValueError: it is something else.
    """
    try:
        value = label.item() if hasattr(label, "item") else label
    except (RuntimeError, ValueError):
        value = label
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int | str):
        return value
    raise ValueError(
        f"the data set has a label {value!r} of type {type(value).__name__}; one class an image is needed, "
        "as a number or text."
    )


def _unwrapped(data: Any) -> Any:
    inner = getattr(data, "dataset", None)
    if inner is not None and hasattr(data, "task_transforms"):
        data = inner
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TypeError(
            f"`data.init_args.data_set` gives a {type(data).__name__}, which lacks `__len__` or "
            "`__getitem__`; it must give `(image, label)` by index."
        )
    return data


def _labels(data: Any) -> list[int | str]:
    """Return the label of every item."""
    count = len(data)
    probes = sorted({0, count // 2, count - 1}) if count else []
    for name in _LISTS:
        listed = getattr(data, name, None)
        try:
            if listed is None or len(listed) != count:
                continue
            labels = [_listed(entry) for entry in listed]
        except (TypeError, ValueError):
            continue  # a list of something else
        if all(plain(data[i][1]) == labels[i] for i in probes):
            return labels
    return [plain(data[i][1]) for i in range(count)]


def _listed(entry: Any) -> int | str:
    """Return the label of an entry ``label`` or ``(file, label)``."""
    return plain(entry[1] if isinstance(entry, tuple | list) and len(entry) == 2 else entry)
