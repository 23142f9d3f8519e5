"""Layouts that several benchmarks come in: a file a split, and folders of classes with published splits."""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from psst.images.files.unpickle import load
from psst.images.source import SPLITS
from psst.images.sources.array_images import (
    ArraySource,
    Encoded,
    Part,
    Pixels,
    label_array,
    require_keys,
)
from psst.images.sources.folder import FolderSource
from psst.images.sources.image_tree import Parts, grow
from psst.images.sources.layout import Layout
from psst.images.sources.lists import SPLIT_NAMES

_PICKLES = (".pkl", ".pickle", ".p")
_LOOK = 20_000  # files that a look at the names of folders passes
_HELD_OUT = "train_phase_"  # of the base classes, in the files of Gidaris and Komodakis


@dataclass
class _SplitFiles:
    """The files of each split, and files with further images of the training classes."""

    by_split: dict[str, list[Path]] = field(default_factory=dict)
    held_out: list[Path] = field(default_factory=list)

    def describe(self) -> str | None:
        found = [path.name for split in SPLITS for path in self.by_split.get(split, [])]
        held_out = f"; left out: {len(self.held_out)} files of the training classes" if self.held_out else ""
        return f"{', '.join(found)}{held_out}" if found else None

    def require(self, root: Path, expects: str) -> dict[str, Path]:
        missing = [split for split in SPLITS if split not in self.by_split]
        if missing:
            found = ", ".join(path.name for paths in self.by_split.values() for path in paths)
            raise FileNotFoundError(
                f"`data.init_args.root={root}` lacks the file for {' and '.join(missing)}; expected {expects}"
                + (f", found {found}." if found else ".")
            )
        several = next((paths for paths in self.by_split.values() if len(paths) > 1), None)
        if several:
            raise ValueError(
                f"`data.init_args.root={root}` holds {len(several)} files for one split: "
                f"{', '.join(str(path.relative_to(root)) for path in several)}; keep one of them there."
            )
        return {split: self.by_split[split][0] for split in SPLITS}


def split_file_layout(
    name: str,
    expects: str,
    is_one: Callable[[Path], bool],
    read: Callable[[Path, str], tuple[Pixels | Encoded, Sequence[str]]],
    beside: Callable[[Path], Sequence[Path]] = lambda path: (),
) -> Layout:
    """Return the layout of a data set that has one file a split.

    The last word of a file's name that is a split's says which split it is: ``mini-imagenet-cache-val.pkl``,
    ``CIFAR_FS_val.pickle``. They lie in the folder, or in the folders in it if it holds none itself.

    Args:
        name: of the data set.
        expects: the names of the files, in words.
        is_one: whether a file belongs to the data set.
        read: returns the images in a file of a split, and the class of each.
        beside: further files that ``read`` opens.
    """

    def files(root: Path) -> list[Path]:
        found = _find(root, is_one).require(root, expects).values()
        return [path for one in found for path in (one, *beside(one))]

    def parts(root: Path) -> Iterator[Part]:
        found = _find(root, is_one)
        if found.held_out:
            warnings.warn(
                f"`data.init_args.root={root}`: {', '.join(path.name for path in found.held_out)} hold "
                "further images of the training classes and were left out.",
                stacklevel=2,
            )
        for split, path in found.require(root, expects).items():
            images, classes = read(path, split)
            yield Part(images, classes, dict.fromkeys(classes, split))

    return Layout(
        expects,
        lambda root: _find(root, is_one).describe(),
        lambda root: ArraySource(root, name, files, parts),
    )


def _find(folder: Path, is_one: Callable[[Path], bool]) -> _SplitFiles:
    files = _SplitFiles()
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern)):
            words = re.findall(r"[a-z]+", path.stem.lower())
            split = next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), None)
            known = path.suffix.lower() in (*_PICKLES, ".npz")
            if split is None or not known or not path.is_file() or not is_one(path):
                continue
            if _HELD_OUT in path.stem.lower() and split != "train":
                files.held_out.append(path)
            else:
                files.by_split.setdefault(split, []).append(path)
        if files.by_split:
            break
    return files


def category_layout(
    name: str, word: str, expects: str, names: Mapping[str, Mapping[int, str]] | None = None
) -> Layout:
    """Return the layout of pickled dicts with ``data``, ``[n, H, W, 3]``, and ``labels``, one file a split.

    mini-ImageNet of Gidaris and Komodakis (2018), MetaOptNet's CIFAR-FS and FC100. Labels may go on from one
    split to the next or start again: a class is named by ``catname2label`` of the file, by ``names`` if the
    labels of the split are exactly those, or ``train/12``.

    ``word`` is in the names of the files, ``expects`` says them; ``names`` are split -> label -> class.
    """

    def is_one(path: Path) -> bool:
        return word in path.name.lower().replace("-", "_")

    def read(path: Path, split: str) -> tuple[Pixels, list[str]]:
        file, content = str(path), load(path)
        images, labels = require_keys(content, ("data", "labels"), file)
        numbers = label_array(labels, file).tolist()
        published = (names or {}).get(split, {})
        name_of = _named(content, set(numbers))
        if name_of is None and set(numbers) == set(published):
            name_of = published
        classes = [name_of[number] if name_of else f"{split}/{number}" for number in numbers]
        return Pixels(file, images), classes

    return split_file_layout(name, expects, is_one, read)


def _named(content: Mapping[str, Any], labels: set[int]) -> Mapping[int, str] | None:
    """Return the names that a file has for its labels."""
    given = content.get("catname2label")
    if not isinstance(given, dict):
        return None
    pairs = [(k, v) for k, v in given.items() if isinstance(k, str) and k and isinstance(v, int | np.integer)]
    name_of = {int(label): name for name, label in pairs}
    return name_of if labels <= name_of.keys() else None


def published_layouts(
    name: str, split_of: Mapping[str, str], expects: str, archives: Sequence[str] = ()
) -> tuple[Layout, Layout]:
    """Return two layouts of folders of classes whose splits are published: with the splits, and without.

    ``expects`` says in words what the second looks like, ``archives`` names zip files that may hold it.
    """

    def sees(root: Path) -> str | None:
        archive = next((name for name in archives if (root / name).is_file()), None)
        return archive or _sees_classes(root, split_of)

    return (
        Layout(
            "train/, val/ and test/ with a folder a class, as published",
            partial(_sees_splits, split_of=split_of),
            partial(FolderSource, name=name),
        ),
        Layout(expects, sees, partial(FolderSource, name=name, splits=split_of)),
    )


def _sees_splits(folder: Path, split_of: Mapping[str, str]) -> str | None:
    """Say how many class folders lie in train/, val/ and test/; None if one of the three lacks any.

    The three may lie below another folder. Nine tenths of the class folders must be in their published
    split, so that the folders of one benchmark are not taken for another.
    """
    inside: dict[Parts, list[Parts]] = defaultdict(list)
    for parts in grow(folder, limit=_LOOK).folders:
        inside[parts[:-1]].append(parts)
    for place in ((), *inside[()]):
        names = {
            SPLIT_NAMES[parts[-1].lower()]: [below[-1] for below in inside[parts]]
            for parts in inside[place]
            if parts[-1].lower() in SPLIT_NAMES
        }
        found = [(name, split) for split in SPLITS for name in names.get(split, [])]
        agree = sum(split_of.get(name) == split for name, split in found)
        if all(names.get(split) for split in SPLITS) and 10 * agree >= 9 * len(found):
            return "class folders in " + ", ".join(f"{split} ({len(names[split])})" for split in SPLITS)
    return None


def _sees_classes(folder: Path, split_of: Mapping[str, str]) -> str | None:
    """Say how many of the classes have a folder, at any depth; None for less than half of them."""
    found = {parts[-1] for parts in grow(folder, limit=_LOOK).folders} & split_of.keys()
    return (
        f"folders of {len(found)} of the {len(split_of)} classes" if 2 * len(found) >= len(split_of) else None
    )
