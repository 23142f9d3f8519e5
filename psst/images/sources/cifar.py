"""CIFAR-FS and FC100: CIFAR-100 in two published class splits, in the layouts in which they are found."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from psst.images.files.archives import require_folder, tar_entries
from psst.images.files.unpickle import load
from psst.images.source import Source
from psst.images.sources.array_images import ArraySource, Part, Pixels, label_array, require_keys
from psst.images.sources.category_pickles import CategoryPickles, category_files
from psst.images.sources.class_folders import sees_classes, sees_splits
from psst.images.sources.folder import FolderSource
from psst.images.sources.layout import Layout, published_rows

FOLDER = "cifar-100-python"
ARCHIVE = "cifar-100-python.tar.gz"
_SIDE = 32
_ZIPS = ("cifar100.zip", "cifarfs.zip", "cifar-fs.zip", "CIFAR-FS.zip")


def cifar100_superclasses() -> dict[str, str]:
    """Return the superclass of each of the 100 classes."""
    return {name: parent for name, parent, _, _ in published_rows("cifar100.txt")}


def cifar_fs_splits() -> dict[str, str]:
    """Return the split of each of the 100 classes in CIFAR-FS: 64/16/20."""
    return {name: split for name, _, split, _ in published_rows("cifar100.txt")}


def fc100_splits() -> dict[str, str]:
    """Return the split of each of the 100 classes in FC100: 60/20/20, by superclass."""
    return {name: split for name, _, _, split in published_rows("cifar100.txt")}


class Cifar100(ArraySource):
    """The files of CIFAR-100 for Python, train and test pooled to 600 images a class.

    They are read from the folder ``cifar-100-python``, in place, or from ``cifar-100-python.tar.gz``, which
    takes 190 MB of memory during the build.

    Args:
        root: folder of either.
        name: of the data set.
        split_of: the split of each of the 100 classes.
    """

    def __init__(self, root: str | Path, name: str, split_of: Mapping[str, str]) -> None:
        super().__init__(root, name)
        self.split_of = split_of

    def files(self) -> Sequence[Path]:
        """Return the files of the folder, or the archive."""
        folder = _cifar_folder(require_folder(self.root))
        if folder is None:
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds neither `{FOLDER}` nor `{ARCHIVE}`; get the "
                "archive from https://www.cs.toronto.edu/~kriz/cifar.html, or set "
                "`data.init_args.download=true`."
            )
        return [folder] if folder.is_file() else [folder / part for part in ("meta", "train", "test")]

    def parts(self) -> Iterator[Part]:
        """Open the two files of images."""
        meta, *batches = self._open()
        (names,) = require_keys(load(*meta), ("fine_label_names",), meta[1])
        unknown = sorted(set(map(str, names)) ^ self.split_of.keys())
        if unknown:
            raise ValueError(f"the classes of `{meta[1]}` are not those of CIFAR-100, first: {unknown[0]}.")
        for source, file in batches:
            data, labels = require_keys(load(source, file), ("data", "fine_labels"), file)
            numbers = label_array(labels, file)
            if numbers.min(initial=0) < 0 or numbers.max(initial=0) >= len(names):
                raise ValueError(f"`{file}` has labels outside 0 to {len(names) - 1}; download it again.")
            yield Part(_pixels(data, file), [str(names[i]) for i in numbers.tolist()], self.split_of)

    def _open(self) -> list[tuple[Path | bytes, str]]:
        """Return the content of meta, train and test, and their names."""
        first, *others = self.files()
        if others:
            missing = [path for path in (first, *others) if not path.is_file()]
            if missing:
                raise FileNotFoundError(f"`{missing[0]}` is missing; unpack `{ARCHIVE}` again.")
            return [(path, str(path)) for path in (first, *others)]
        entries = {PurePosixPath(entry.name).name: entry for entry in tar_entries(first)}
        missing_parts = [part for part in ("meta", "train", "test") if part not in entries]
        if missing_parts:
            raise ValueError(f"`{first}` lacks {FOLDER}/{missing_parts[0]}; download it again.")
        return [(entries[part].read(), str(entries[part])) for part in ("meta", "train", "test")]


def _pixels(data: Any, file: str) -> Pixels:
    """Turn rows of 1024 red, 1024 green and 1024 blue values into images."""
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
        shape = list(data.shape) if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"`data` of `{file}` is {shape}; expected [n, {3 * _SIDE**2}]; download it again.")
    return Pixels(file, data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


def _cifar_folder(root: Path) -> Path | None:
    """Find the folder or the archive in ``root``, or ``root`` itself if it is that folder."""
    if all((root / part).is_file() for part in ("meta", "train", "test")):
        return root
    return next((root / name for name in (FOLDER, ARCHIVE) if (root / name).exists()), None)


def _cifar100_found(root: Path) -> str | None:
    found = _cifar_folder(root)
    return None if found is None else f"CIFAR-100 for Python, {found.name}"


def _numbered(splits: Mapping[str, str]) -> dict[str, dict[int, str]]:
    """Return split -> number of a class in CIFAR-100, where they are sorted by name -> class."""
    numbered: dict[str, dict[int, str]] = {}
    for number, name in enumerate(sorted(splits)):
        numbered.setdefault(splits[name], {})[number] = name
    return numbered


def _layouts(name: str, word: str, splits: Mapping[str, str]) -> tuple[Layout, ...]:
    expects = f"{word.upper()}_train.pickle, {word.upper()}_val.pickle and {word.upper()}_test.pickle"

    def pickles(root: Path) -> Source:
        return CategoryPickles(root, name, category_files(root, word), expects, _numbered(splits))

    return (
        Layout(
            f"{ARCHIVE} or the folder {FOLDER} that is in it",
            _cifar100_found,
            partial(Cifar100, name=name, split_of=splits),
        ),
        Layout(expects, lambda root: category_files(root, word).describe(), pickles),
        Layout(
            "train/, val/ and test/ with a folder a class, as published",
            partial(sees_splits, split_of=splits),
            partial(FolderSource, name=name),
        ),
        Layout(
            "cifar100.zip, or the folders cifar100/data/<class> that are in it",
            partial(_class_images_found, names=splits),
            partial(FolderSource, name=name, splits=splits),
        ),
    )


def _class_images_found(root: Path, names: Mapping[str, str]) -> str | None:
    archive = next((name for name in _ZIPS if (root / name).is_file()), None)
    return archive or sees_classes(root, names)


CIFAR_FS_LAYOUTS = _layouts("cifar_fs", "cifar_fs", cifar_fs_splits())
FC100_LAYOUTS = _layouts("fc100", "fc100", fc100_splits())
"""CIFAR-100 for Python, pickles of MetaOptNet, folders with splits, folders of the classes."""
