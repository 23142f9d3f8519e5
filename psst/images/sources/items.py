"""Looking into a data set whose items are an image and a class: labels, classes, pixels."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from psst.images.files.members import printable

_LABELS = ("targets", "_labels", "labels", "y")  # lists of labels in torchvision's classes
_PAIRS = ("samples", "_samples", "_flat_character_images")  # lists of (file, label)
_FILES = ("_image_files", "_images", *_PAIRS)
_CLASSES = ("classes", "categories", "_characters", "all_categories")


def list_labels(data_set: Any) -> list[int]:
    """Return the label of every item: from an attribute if there is one, else by looking at each item."""
    plain = getattr(data_set, "target_transform", None) is None
    for labels in _listed_labels(data_set) if plain else ():
        ends = [0, len(labels) - 1]
        if all(int(data_set[i][1]) == labels[i] for i in ends):
            return labels
    return [int(data_set[i][1]) for i in range(len(data_set))]


def _listed_labels(data_set: Any) -> Iterator[list[int]]:
    """Yield what may be the labels."""
    candidates = [getattr(data_set, name, None) for name in _LABELS]
    for name in _PAIRS:
        pairs = getattr(data_set, name, None)
        if isinstance(pairs, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            candidates.append([label for _, label in pairs])
    for candidate in candidates:
        try:
            labels = np.asarray(candidate)
        except (ValueError, TypeError, RuntimeError):
            continue
        if labels.shape == (len(data_set),) and labels.dtype.kind in "iu":
            yield labels.tolist()


def class_names(data_set: Any, largest: int) -> list[str]:
    """Return the names of the labels 0 to ``largest`` at least; equal names get their label behind them."""
    given = next((names for name in _CLASSES if (names := getattr(data_set, name, None))), None)
    if given is None or len(given) <= largest:
        return [f"class{label:0{len(str(largest))}}" for label in range(largest + 1)]
    texts = [name if isinstance(name, str) else ", ".join(name) for name in given]  # ImageNet: synonyms
    names = [printable(text) for text in texts]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def check_items(data_set: Any) -> None:
    """Raise ValueError unless the first item is an image and a class, twice the same."""
    name = title(data_set)
    if len(data_set) == 0:
        raise ValueError(f"{name} is empty; check its folder and arguments.")
    try:
        image, label = data_set[0]
        again, _ = data_set[0]
        same = np.array_equal(np.asarray(as_image(image)), np.asarray(as_image(again)))
        whole = int(label) == label
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"the items of {name} are not an image and a class ({error}).") from error
    if not whole:
        raise ValueError(f"the items of {name} have labels like {label}; a class is a whole number.")
    if not same:
        raise ValueError(
            f"{name} gives another image each time it is asked; take the random transforms out of it, the "
            "store keeps images as they are and episodes augment them."
        )


def as_image(image: Any) -> Image.Image:
    """Return an image, a tensor ``[C, H, W]`` or an array ``[H, W, C]`` as Pillow's image.

    Raises:
        ValueError: it has other axes, or values that are neither uint8 nor in [0, 1].
    """
    if isinstance(image, Image.Image):
        return image
    values = np.asarray(image)
    if hasattr(image, "permute") and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (1, 3)):
        raise ValueError(f"an image of type {type(image).__name__} and shape {list(values.shape)}")
    if values.dtype.kind == "f":
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"values from {values.min():.3g} to {values.max():.3g} instead of 0 to 1: leave out Normalize"
            )
        values = np.rint(values * 255)
    elif values.dtype != np.uint8:
        raise ValueError(f"values of type {values.dtype}, not uint8 or float")
    values = values.astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else values)


def content_hash(data_set: Any) -> str:
    """Return a hash of what tells this data set from another: classes, labels, files or pixels."""
    digest = hashlib.blake2b(f"{title(data_set)}\n{len(data_set)}\n".encode(), digest_size=16)
    for name in ("transforms", "transform", *_CLASSES):
        text = repr(getattr(data_set, name, None))
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", text).encode())  # functions print where they are
    for labels in _listed_labels(data_set):
        digest.update(np.asarray(labels, dtype=np.int64).tobytes())
    pixels = getattr(data_set, "data", None)
    if hasattr(pixels, "__array__"):
        digest.update(np.ascontiguousarray(np.asarray(pixels)).data)
    for path in _listed_files(data_set):
        stat = path.stat()
        place = os.fsencode(f"{path.parent.name}/{path.name}")
        digest.update(place + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    if len(data_set):
        digest.update(_pixels(data_set, 0) + _pixels(data_set, len(data_set) - 1))
    return digest.hexdigest()


def _pixels(data_set: Any, position: int) -> bytes:
    try:
        return np.asarray(as_image(data_set[position][0])).tobytes()
    except (TypeError, ValueError, KeyError, IndexError, OSError) as error:
        raise ValueError(f"{item_title(data_set, position)} cannot be read as an image: {error}.") from error


def item_title(data_set: Any, position: int) -> str:
    """Return the file of an item if it is known, or else its number, and its data set, for messages."""
    files = _listed_files(data_set)
    return f"`{printable(str(files[position]))}`" if files else f"image {position} of {title(data_set)}"


def title(data_set: Any) -> str:
    """Return the class of a data set, for messages."""
    return f"{type(data_set).__module__}.{type(data_set).__qualname__}"


def _listed_files(data_set: Any) -> list[Path]:
    """Return the file of each item, or nothing."""
    for name in _FILES:
        files = getattr(data_set, name, None)
        if isinstance(files, list) and len(files) == len(data_set):
            paths = [file[0] if isinstance(file, tuple) else file for file in files]
            if all(isinstance(path, str | Path) for path in paths) and Path(paths[0]).is_file():
                return [Path(path) for path in paths]
    return []
