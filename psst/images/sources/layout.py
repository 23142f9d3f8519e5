"""Layouts in which data sets lie on disk, of which one lies below a path; several benchmarks share some."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np

from psst.images.files.paths import require_folder
from psst.images.files.unpickle import load
from psst.images.source import SPLITS, Source
from psst.images.sources.array_images import ArraySource, Pixels, label_array, require_keys
from psst.images.sources.folder import FolderSource
from psst.images.sources.image_tree import ImageTree
from psst.images.sources.lists import SPLIT_NAMES

_PICKLES = (".pkl", ".pickle", ".p")
_LOOK = 20_000  # files that a look at the names of folders passes
_HELD_OUT = "train_phase_"  # of the base classes, in the files of Gidaris and Komodakis
_IMAGENET = "folders named by WordNet ids with their images (the published classes are taken from them)"


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk."""

    expects: str  # below the root, in words, for messages: "train.csv, val.csv, test.csv and images"
    sees: Callable[[Path], bool | str | None]  # whether it lies below a folder, or what does; looks at names
    source: Callable[[Path], Source]

    @staticmethod
    def choose(root: str | Path, layouts: "Sequence[Layout]", data_set: str) -> "Layout":
        """Return the first layout that sees something below ``root``."""
        folder = require_folder(root)
        for layout in layouts:
            if layout.sees(folder):
                return layout
        found = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        wanted = "; or ".join(layout.expects for layout in layouts)
        raise FileNotFoundError(
            f"`data.init_args.root={root}` holds {shown}; {data_set} needs one of: {wanted}. "
            "`psst data info PATH` says what a path looks like."
        )


def published_rows(name: str) -> list[list[str]]:
    """Return the words of each line of ``splits/<name>``; lines that begin with # say where it is from."""
    text = (files("psst.images.sources") / "splits" / name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def split_file_layout(
    name: str,
    expects: str,
    is_one: Callable[[Path], bool],
    read: Callable[[Path, str], tuple[Pixels, Sequence[str]]],
    beside: Callable[[Path], Path] | None = None,
) -> Layout:
    """Return the layout of a data set ``name`` that has one file a split, all of whose names it ``expects``.

    The last word of a file's name that is a split's says which split it is: ``mini-imagenet-cache-val.pkl``,
    ``CIFAR_FS_val.pickle``. They lie in the folder, or in the folders in it if it holds none itself.
    ``is_one`` says whether a file belongs to the data set; ``read`` returns the images in the file of a
    split, and the class of each; ``beside`` is a further file that it opens.
    """

    def chosen(root: Path) -> dict[str, Path]:
        found, given = _find(root, is_one), f"`data.init_args.root={root}`"
        if missing := [split for split in SPLITS if split not in found]:
            names = ", ".join(path.name for split, paths in found.items() for path in paths if split)
            law = f"expected {expects}" + (f", found {names}" if names else "")
            raise FileNotFoundError(f"{given} lacks the file for {' and '.join(missing)}; {law}.")
        if several := next((paths for split, paths in found.items() if split and len(paths) > 1), None):
            names = ", ".join(str(path.relative_to(root)) for path in several)
            raise ValueError(
                f"{given} holds {len(several)} files for one split: {names}; keep one of them there."
            )
        return {split: found[split][0] for split in SPLITS}

    def files(root: Path) -> list[Path]:
        found = list(chosen(root).values())
        return found if beside is None else [*found, *map(beside, found)]

    def parts(root: Path) -> Iterator[tuple[Pixels, Sequence[str], Mapping[str, str]]]:
        if left_out := _find(root, is_one).get(""):
            warnings.warn(
                f"`data.init_args.root={root}`: {', '.join(path.name for path in left_out)} hold further "
                "images of the training classes and were left out.",
                stacklevel=2,
            )
        for split, path in chosen(root).items():
            images, classes = read(path, split)
            yield images, classes, dict.fromkeys(classes, split)

    return Layout(
        expects,
        lambda root: bool(_find(root, is_one).keys() - {""}),
        lambda root: ArraySource(root, name, files, parts),
    )


def _find(folder: Path, is_one: Callable[[Path], bool]) -> dict[str, list[Path]]:
    """Return the files of each split, and under "" those with further images of the training classes."""
    found: dict[str, list[Path]] = {}
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern)):
            words = re.findall(r"[a-z]+", path.stem.lower())
            split = next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), None)
            known = path.suffix.lower() in (*_PICKLES, ".npz")
            if split is not None and known and path.is_file() and is_one(path):
                left_out = _HELD_OUT in path.stem.lower() and split != "train"
                found.setdefault("" if left_out else split, []).append(path)
        if found.keys() - {""}:
            break
    return found


def category_layout(
    name: str, word: str, expects: str, names: Mapping[str, Mapping[int, str]] | None = None
) -> Layout:
    """Return the layout of pickled dicts with ``data``, ``[n, H, W, 3]``, and ``labels``, one file a split.

    mini-ImageNet of Gidaris and Komodakis (2018), MetaOptNet's CIFAR-FS and FC100. ``word`` is in the names
    of the files. Labels may go on from one split to the next or start again: a class is named by
    ``catname2label`` of the file, by ``names``, split -> label -> class, if the labels of the split are
    exactly those, or ``train/12``.
    """

    def read(path: Path, split: str) -> tuple[Pixels, list[str]]:
        file, content = str(path), load(path)
        images, labels = require_keys(content, ("data", "labels"), file)
        numbers = label_array(labels, file).tolist()
        published = (names or {}).get(split, {})
        given = content.get("catname2label")
        pairs = given.items() if isinstance(given, dict) else ()
        name_of = {
            int(v): k for k, v in pairs if isinstance(k, str) and k and isinstance(v, int | np.integer)
        }
        if not set(numbers) <= name_of.keys():
            name_of = dict(published) if set(numbers) == set(published) else {}
        return Pixels(file, images), [name_of.get(number, f"{split}/{number}") for number in numbers]

    return split_file_layout(name, expects, lambda path: word in path.name.lower().replace("-", "_"), read)


def published_layout(
    name: str, split_of: Mapping[str, str], expects: str = _IMAGENET, archives: Sequence[str] = ()
) -> Layout:
    """Return the layout of folders named by classes whose splits are published, at any depth.

    ``expects`` says in words what it looks like, ``archives`` names zip files that may hold it.
    """

    def sees(root: Path) -> bool:
        names = {parts[-1] for parts in ImageTree.grow(root, limit=_LOOK).folders} & split_of.keys()
        return 2 * len(names) >= len(split_of) or any((root / name).is_file() for name in archives)

    return Layout(expects, sees, partial(FolderSource, name=name, splits=split_of))
