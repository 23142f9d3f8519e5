"""What the folders of an image tree mean: classes, splits, or images without a label."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from psst.images.files.members import printable
from psst.images.source import SPLITS
from psst.images.sources.image_tree import ImageTree, Parts, grow
from psst.images.sources.list_files import SPLIT_NAMES

_UNLABELED = ("unlabeled", "unlabelled")
_LIMIT = 200_000


@dataclass
class ClassFolders:
    """The folders of a tree, by meaning.

    Attributes:
        has_splits: whether the classes lie in ``train/``, ``val/`` and ``test/``.
        classes: class name -> split -> its folders; the split is "" without splits.
        unlabeled: folders of images without a label.
        stray: folders with images that belong to no class: the root, or a split's folder.
    """

    has_splits: bool
    classes: dict[str, dict[str, list[Parts]]] = field(default_factory=dict)
    unlabeled: list[Parts] = field(default_factory=list)
    stray: list[Parts] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        """The splits that have classes, in the usual order."""
        return [split for split in SPLITS if any(split in places for places in self.classes.values())]


def sort_folders(tree: ImageTree) -> ClassFolders:
    """Say what each folder with images means.

    A class is a folder with images in it, named by its path below the root, or below the folder of its
    split. Folders round everything (``data/images/...``) do not count. A folder ``unlabeled`` beside the
    classes or the splits holds images without a label.
    """
    outer = len(_wrapper(tree.images))
    tops = {parts[outer].lower() for parts in tree.images if len(parts) > outer} - set(_UNLABELED)
    nested = {parts[outer].lower() for parts in tree.images if len(parts) > outer + 1} & set(SPLIT_NAMES)
    splits = {SPLIT_NAMES[name] for name in nested}
    has_splits = bool(splits) and (tops <= set(SPLIT_NAMES) or ("train" in splits and len(splits) > 1))
    found = ClassFolders(has_splits)
    for parts in tree.images:
        place = parts[outer:]
        split = SPLIT_NAMES.get(place[0].lower(), "") if has_splits and place else ""
        if place and place[0].lower() in _UNLABELED:
            found.unlabeled.append(parts)
        elif not place or (has_splits and (len(place) == 1 or not split)):
            found.stray.append(parts)
        else:
            name = printable("/".join(place[1:] if has_splits else place))
            found.classes.setdefault(name, {}).setdefault(split, []).append(parts)
    return found


def describe(folder: Path, with_splits: bool) -> str | None:
    """Say in words what a folder holds: "12 class folders with 480 images, no split"; see `Layout.sees`.

    Args:
        folder: any folder; a look stops at 200,000 images.
        with_splits: look for class folders in train/, val/ and test/, or for those without.
    """
    tree = grow(folder, limit=_LIMIT)
    found = sort_folders(tree)
    if not found.classes or found.has_splits != with_splits:
        return None
    more = "" if tree.complete else "more than "
    labeled = (parts for places in found.classes.values() for of in places.values() for parts in of)
    text = f"{more}{_count(len(found.classes), 'class folder')} with {more}{_images(tree, labeled)}"
    if with_splits:
        sizes = [sum(split in places for places in found.classes.values()) for split in found.splits]
        text += " in " + ", ".join(f"{split} ({n})" for split, n in zip(found.splits, sizes, strict=True))
    else:
        text += ", no split"
    if found.unlabeled:
        text += f"; {_images(tree, found.unlabeled)} without a label"
    if tree.unreadable:
        text += f"; {_count(len(tree.unreadable), 'folder')} that may not be read"
    if tree.outside:
        text += f"; {_count(len(tree.outside), 'link')} that cannot be followed"
    return text


def oddities(tree: ImageTree, folders: ClassFolders) -> dict[str, list[str]]:
    """Return what is left out or looks like a slip: law -> what breaks it."""
    alike = defaultdict(list)
    for name in folders.classes:
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    stray = ["/".join((*parts, name)) for parts in folders.stray for name in tree.images[parts]]
    return {
        "files are not images by their names and were left out": tree.others,
        "images lie in no class folder and were left out": stray,
        "folders hold no images and make no class": tree.empty,
        "groups of classes differ in capitals or accents only; merge them if they are the same": [
            " and ".join(group) for group in alike.values() if len(group) > 1
        ],
    }


def _wrapper(folders: Iterable[Parts]) -> Parts:
    """Return the folders that everything lies in; splits and folders of classes are none."""
    paths = list(folders)
    shared: Parts = ()
    while all(len(path) > len(shared) + 1 for path in paths):
        names = {path[len(shared)] for path in paths}
        if len(names) != 1 or (name := names.pop()).lower() in (*SPLIT_NAMES, *_UNLABELED):
            break
        shared = (*shared, name)
    return shared


def _images(tree: ImageTree, folders: Iterable[Parts]) -> str:
    return _count(sum(len(tree.images[parts]) for parts in folders), "image")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
