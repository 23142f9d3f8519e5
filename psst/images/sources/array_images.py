"""Sources whose images lie in arrays: what such files share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from psst.images.decode import decode_image, fit_image
from psst.images.files.paths import fingerprint, require_folder
from psst.images.source import SPLITS, ImageRecord


@dataclass(frozen=True)
class Pixels:
    """Images of a file: an array ``[n, H, W, 3]``, a list of ``[H, W, 3]``, or one of PNG or JPEG files."""

    name: str  # of the file that holds them
    images: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8] | bytes]
    bgr: bool = False  # the channels are blue, green, red, as OpenCV has them
    encoded: bool = False  # bytes, or arrays of them in any shape

    def __post_init__(self) -> None:
        if self.encoded:
            return
        if not _is_color(np.asarray(self.images[:1] if isinstance(self.images, list) else self.images), 4):
            raise ValueError(
                f"the images of `{self.name}` are {_described(self.images)}; expected [n, height, width, 3] "
                "of type uint8. Is it the file of another data set?"
            )

    def __len__(self) -> int:
        return len(self.images)

    def decode(self, index: int, size: int) -> npt.NDArray[np.uint8]:
        """Return an image as ``[size, size, 3]``, RGB."""
        if self.encoded:
            data = self.images[index]
            content = data.tobytes() if isinstance(data, np.ndarray) else bytes(data)
            return decode_image(content, f"image {index} of {self.name}", size, 3)
        pixels = np.asarray(self.images[index])
        if not _is_color(pixels, 3):
            raise ValueError(
                f"image {index} of `{self.name}` is {_described(pixels)}, not [h, w, 3] of uint8."
            )
        pixels = np.ascontiguousarray(pixels[:, :, ::-1] if self.bgr else pixels)
        return pixels if pixels.shape[:2] == (size, size) else fit_image(Image.fromarray(pixels), size, 3)


@dataclass(frozen=True, slots=True)
class _ArrayImage:
    """One of the images of a file, what a record refers to."""

    images: Pixels
    index: int

    def __str__(self) -> str:
        return f"image {self.index} of {self.images.name}"


@dataclass(frozen=True)
class ArraySource:
    """Images that lie in arrays.

    ``files`` returns which files below a folder are read. ``parts`` opens them: it yields images, the class
    of each, and the split of each class; others are left out.
    """

    root: str | Path
    name: str
    files: Callable[[Path], Sequence[Path]]
    parts: Callable[[Path], Iterable[tuple[Pixels, Sequence[str], Mapping[str, str]]]]
    channels: int = 3

    def key(self, size: int) -> dict[str, Any]:
        """The names, sizes and dates of the files."""
        root = require_folder(self.root)
        files = sorted(self.files(root))
        return {"files": fingerprint((path.relative_to(root).as_posix(), path.stat()) for path in files)}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and place in the files; see `Source.scan`."""
        found: list[ImageRecord] = []
        for images, classes, split_of in self.parts(require_folder(self.root)):
            if len(images) != len(classes):
                raise ValueError(
                    f"`{images.name}` holds {len(images):,} images, with {len(classes):,} labels; each image "
                    "needs one: download the files again, all from one place."
                )
            found += [
                ImageRecord(label, split_of[label], _ArrayImage(images, index))
                for index, label in enumerate(classes)
                if label in split_of
            ]
        return sorted(found, key=lambda record: (SPLITS.index(record.split), record.class_name))

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, 3]``."""
        image: _ArrayImage = record.reference
        return image.images.decode(image.index, size)


def label_array(labels: Any, file: str) -> npt.NDArray[np.int64]:
    """Return ``[n]`` labels as integers; ValueError unless they are a list or an array of whole numbers."""
    array = np.asarray(labels) if isinstance(labels, list | tuple | np.ndarray) else np.empty(())
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise ValueError(
            f"the labels of `{file}` are {_described(labels)}; expected a list of whole numbers."
        )
    return array.astype(np.int64)


def require_keys(data: Any, keys: Sequence[str], file: str) -> list[Any]:
    """Return what a pickled dict holds under ``keys``; ValueError if it is none, or lacks one of them."""
    if isinstance(data, dict) and all(key in data for key in keys):
        return [data[key] for key in keys]
    raise ValueError(f"`{file}` holds {_described(data)}; expected a dict with {' and '.join(keys)}.")


def _is_color(array: npt.NDArray[Any], n_axes: int) -> bool:
    return array.ndim == n_axes and array.shape[-1] == 3 and array.dtype == np.uint8


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict with {', '.join(sorted(map(str, value))[:8])}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of type {value.dtype}"
    return f"a {type(value).__name__}" + (f" of {len(value):,}" if isinstance(value, list | tuple) else "")
