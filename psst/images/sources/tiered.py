"""tieredImageNet (Ren et al., ICLR 2018) in the layouts in which it is found."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.files.archives import require_folder
from psst.images.files.unpickle import load
from psst.images.source import SPLITS
from psst.images.sources.array_images import ArraySource, Encoded, Part, Pixels, label_array, require_keys
from psst.images.sources.class_folders import sees_classes, sees_splits
from psst.images.sources.folder import FolderSource
from psst.images.sources.layout import Layout, published_rows
from psst.images.sources.npz_arrays import open_npz

_NAME = "tiered_imagenet"
_V1 = "<split>_images_png.pkl with <split>_labels.pkl that has label_specific"
_V2 = "<split>_images.npz with <split>_labels.pkl that has labels"
_ONE_PLACE = f"The two are numbered differently: keep the files of one distribution, either {_V1}, or {_V2}."


def tiered_imagenet_splits() -> dict[str, str]:
    """Return the split of each of the 608 classes, by WordNet id."""
    return {name: split for _, split, *names in published_rows("tiered_imagenet.txt") for name in names}


def tiered_imagenet_superclasses() -> dict[str, str]:
    """Return the superclass of each of the 608 classes, both by WordNet id; a superclass is in one split."""
    return {name: parent for parent, _, *names in published_rows("tiered_imagenet.txt") for name in names}


class TieredPng(ArraySource):
    """The distribution of Ren et al.: lists of encoded PNG files and labels with class names.

    The files were encoded by OpenCV from blue, green, red arrays, so that PNG files are what any reader takes
    for red, green, blue. The list stays in the file, see `load`; memory goes up to 2 KB an image.

    Names are words, not ids, and "crane" is two classes: a class is named ``train/crane``, with a number
    where a split has a name twice.
    """

    def files(self) -> Sequence[Path]:
        """Return the six files."""
        return [path for pair in self._files().values() for path in pair]

    def parts(self) -> Iterator[Part]:
        """Open the files of each split."""
        for split, (images, labels) in self._files().items():
            numbers, words = _labels(labels, images, ("label_specific", "label_specific_str"), "labels")
            pngs = load(images)
            if not isinstance(pngs, list) or not all(map(_is_encoded, pngs[:10])):
                raise ValueError(f"`{images}` does not hold a list of encoded images; download it again.")
            classes = _named(label_array(numbers, str(labels)), words, split, str(labels))
            yield Part(Encoded(str(images), pngs), classes, dict.fromkeys(classes, split))

    def _files(self) -> dict[str, tuple[Path, Path]]:
        return tiered_files(require_folder(self.root), "_images_png.pkl").require(self.root, _V1)


class TieredNpz(ArraySource):
    """The distribution of MetaOptNet: arrays in OpenCV's order blue, green, red, and numbers as labels.

    Numbers may start again in each split: a class is named ``train/12``.
    """

    def files(self) -> Sequence[Path]:
        """Return the six files."""
        return [path for pair in self._files().values() for path in pair]

    def parts(self) -> Iterator[Part]:
        """Open the files of each split."""
        for split, (images, labels) in self._files().items():
            (numbers,) = _labels(labels, images, ("labels",), "label_specific")
            classes = [f"{split}/{number}" for number in label_array(numbers, str(labels)).tolist()]
            pixels = Pixels(str(images), open_npz(images, "images"), bgr=True)
            yield Part(pixels, classes, dict.fromkeys(classes, split))

    def _files(self) -> dict[str, tuple[Path, Path]]:
        return tiered_files(require_folder(self.root), "_images.npz").require(self.root, _V2)


class TieredFiles(dict[str, tuple[Path, Path]]):
    """Images and labels, by split."""

    def require(self, root: str | Path, expects: str) -> dict[str, tuple[Path, Path]]:
        """Return the files of the three splits; FileNotFoundError for those that are missing."""
        missing = [split for split in SPLITS if split not in self]
        if missing:
            raise FileNotFoundError(
                f"`data.init_args.root={root}` lacks the images or the labels for {' and '.join(missing)}; "
                f"expected {expects}, for train, val and test."
            )
        return {split: self[split] for split in SPLITS}


def tiered_files(folder: Path, ending: str) -> TieredFiles:
    """Find the images whose names end in ``ending``, and their labels, in ``folder`` or a folder in it."""
    found = TieredFiles()
    for split in SPLITS:
        for path in (*sorted(folder.glob(f"*{split}{ending}")), *sorted(folder.glob(f"*/*{split}{ending}"))):
            labels = path.with_name(path.name.removesuffix(ending) + "_labels.pkl")
            if path.is_file() and labels.is_file():
                found.setdefault(split, (path, labels))
    return found


def _described(folder: Path, ending: str) -> str | None:
    return ", ".join(pair[0].name for pair in tiered_files(folder, ending).values()) or None


def _labels(path: Path, images: Path, keys: Sequence[str], other: str) -> list[Any]:
    """Return what is under ``keys`` of a label file; ``other`` is a key of the other distribution's."""
    content = load(path)
    if isinstance(content, dict) and keys[0] not in content and other in content:
        raise ValueError(
            f"`{path}` has {other} in place of {keys[0]}: it is of another distribution than `{images}`. "
            f"{_ONE_PLACE}"
        )
    return require_keys(content, keys, str(path))


def _named(numbers: npt.NDArray[np.int64], words: Any, split: str, file: str) -> list[str]:
    """Return the class of each image."""
    highest = int(numbers.max(initial=-1))
    if not isinstance(words, list | tuple) or highest >= len(words) or numbers.min(initial=0) < 0:
        raise ValueError(
            f"`label_specific` of `{file}` goes up to {highest} and `label_specific_str` does not name that "
            "many classes; download it again."
        )
    texts = [str(word) for word in words]
    repeated = {text for text in texts if texts.count(text) > 1}
    names = [f"{split}/{text}" + (f" ({i})" if text in repeated else "") for i, text in enumerate(texts)]
    return [names[number] for number in numbers.tolist()]


def _is_encoded(image: object) -> bool:
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size == max(image.shape)
    return is_array or isinstance(image, bytes | memoryview)


LAYOUTS: tuple[Layout, ...] = (
    Layout(f"{_V1}, unpacked", partial(_described, ending="_images_png.pkl"), partial(TieredPng, name=_NAME)),
    Layout(_V2, partial(_described, ending="_images.npz"), partial(TieredNpz, name=_NAME)),
    Layout(
        "train/, val/ and test/ with a folder a class, as published",
        lambda folder: sees_splits(folder, tiered_imagenet_splits()),
        partial(FolderSource, name=_NAME),
    ),
    Layout(
        "folders named by WordNet ids with their images (the published classes are taken from them)",
        lambda folder: sees_classes(folder, tiered_imagenet_splits()),
        lambda root: FolderSource(root, _NAME, splits=tiered_imagenet_splits()),
    ),
)
"""PNG pickles, BGR arrays, folders with splits, folders without."""
