"""What the folders of an image tree mean: classes, splits, or images without a label."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from psst.images.files.members import printable
from psst.images.source import SPLITS
from psst.images.sources.groups import ImageGroups
from psst.images.sources.image_tree import ImageTree, Parts, grow
from psst.images.sources.lists import SPLIT_NAMES

_UNLABELED = ("unlabeled", "unlabelled")
_LIMIT = 200_000  # files that a description counts
_LOOK = 20_000  # files that a look at the names of folders passes
_QUICK = (".zip", ".tar")  # archives whose names are found without decompressing them


@dataclass
class ClassFolders:
    """The folders of a tree, by meaning.

    Attributes:
        has_splits: whether the classes lie in ``train/``, ``val/`` and ``test/``.
        classes: class name -> split -> its folders; the split is "" without splits.
        unlabeled: folders of images without a label.
        stray: folders with images that belong to no class: the root, or a split's folder.
        group_of: the group of a folder's images, where folders name groups.
    """

    has_splits: bool
    classes: dict[str, dict[str, list[Parts]]] = field(default_factory=dict)
    unlabeled: list[Parts] = field(default_factory=list)
    stray: list[Parts] = field(default_factory=list)
    group_of: dict[Parts, str | None] = field(default_factory=dict)

    @property
    def splits(self) -> list[str]:
        """The splits that have classes, in the usual order."""
        return [split for split in SPLITS if any(split in places for places in self.classes.values())]

    def folders(self, name: str) -> list[Parts]:
        """Return all folders of a class."""
        return [parts for places in self.classes[name].values() for parts in places]


def sort_folders(tree: ImageTree, groups: ImageGroups | None = None) -> ClassFolders:
    """Say what each folder with images means.

    A class is a folder with images in it, named by its path below the root, or below the folder of its
    split. Folders round everything (``data/images/...``) do not count, nor does the one that names a group. A
    folder ``unlabeled`` beside the classes or the splits holds images without a label.
    """
    outer = len(_wrapper(tree.images))
    tops = {parts[outer].lower() for parts in tree.images if len(parts) > outer} - set(_UNLABELED)
    nested = {parts[outer].lower() for parts in tree.images if len(parts) > outer + 1} & set(SPLIT_NAMES)
    splits = {SPLIT_NAMES[name] for name in nested}
    # `train` alone may be the name of a class: other folders beside it are then classes, too.
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
            place = place[1:] if has_splits else place
            if groups is not None:
                place, found.group_of[parts] = groups.of_folder(place)
            found.classes.setdefault(printable("/".join(place)), {}).setdefault(split, []).append(parts)
    return found


def published_folders(tree: ImageTree, split_of: Mapping[str, str]) -> ClassFolders:
    """Return the folders named by the classes of a published split, at any depth; others are left out."""
    found = ClassFolders(has_splits=False)
    for parts in tree.images:
        if parts and parts[-1] in split_of:
            found.classes.setdefault(parts[-1], {}).setdefault("", []).append(parts)
    return found


def describe(folder: Path) -> str | None:
    """Say in words what a folder holds: "12 class folders with 480 images, no split"; see `Layout.sees`.

    A look stops at 200,000 images. Where there are none, those in zip and tar files are counted.
    """
    tree = grow(folder, limit=_LIMIT)
    if not tree.images and tree.archives and all(name.lower().endswith(_QUICK) for name in tree.archives):
        try:
            tree.open_archives()
        except (OSError, ValueError):
            return None
    found = sort_folders(tree)
    if not found.classes:
        return None
    more = "" if tree.complete else "more than "
    labeled = (parts for name in found.classes for parts in found.folders(name))
    text = f"{more}{_count(len(found.classes), 'class folder')} with {more}{_images(tree, labeled)}"
    if found.has_splits:
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


def sees_splits(folder: Path, split_of: Mapping[str, str]) -> str | None:
    """Say how many class folders lie in train/, val/ and test/; None if one of the three lacks any.

    The three may lie below another folder. Nine tenths of the class folders must be in their published
    split, so that the folders of one benchmark are not taken for another. See `Layout.sees`.
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


def sees_classes(folder: Path, split_of: Mapping[str, str]) -> str | None:
    """Say how many of the classes have a folder, at any depth; None for less than half of them."""
    found = {parts[-1] for parts in grow(folder, limit=_LOOK).folders} & split_of.keys()
    return (
        f"folders of {len(found)} of the {len(split_of)} classes" if 2 * len(found) >= len(split_of) else None
    )


def oddities(tree: ImageTree, folders: ClassFolders) -> dict[str, list[str]]:
    """Return what is left out or looks like a slip: law -> what breaks it."""
    alike = defaultdict(list)
    for name in folders.classes:
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    stray = ["/".join((*parts, name)) for parts in folders.stray for name in tree.images[parts]]
    return {
        "files are not images by their names and were left out": [
            path for path in tree.others if "/" in path
        ],
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
