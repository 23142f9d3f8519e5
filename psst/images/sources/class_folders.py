"""What the folders of an image tree mean: classes, splits, or images without a label."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from psst.images.files.paths import printable
from psst.images.source import SPLITS
from psst.images.sources.groups import ImageGroups
from psst.images.sources.image_tree import ImageTree, Parts
from psst.images.sources.lists import SPLIT_NAMES

_UNLABELED = ("unlabeled", "unlabelled")
_LIMIT = 200_000  # files that a description counts
_QUICK = (".zip", ".tar")  # archives whose names are found without decompressing them


@dataclass
class ClassFolders:
    """The folders of a tree, by meaning."""

    has_splits: bool  # the classes lie in train/, val/ and test/
    classes: dict[str, dict[str, list[Parts]]] = field(default_factory=dict)  # name -> split or "" -> folders
    unlabeled: list[Parts] = field(default_factory=list)
    stray: list[Parts] = field(default_factory=list)  # of no class: the root, or a split's folder
    group_of: dict[Parts, str | None] = field(default_factory=dict)  # where folders name groups

    @classmethod
    def of(cls, tree: ImageTree, groups: ImageGroups | None = None) -> "ClassFolders":
        """Say what each folder with images means, see `FolderSource`; one that names a group is no class."""
        # the folders that everything lies in; splits and folders of classes are none
        depths = zip(*(parts[:-1] for parts in tree.images), strict=False)
        shared = (names[0].lower() for names in takewhile(lambda names: len({*names}) == 1, depths))
        outer = len([*takewhile(lambda name: name not in (*SPLIT_NAMES, *_UNLABELED), shared)])
        tops = {parts[outer].lower() for parts in tree.images if len(parts) > outer} - set(_UNLABELED)
        nested = {parts[outer].lower() for parts in tree.images if len(parts) > outer + 1} & set(SPLIT_NAMES)
        splits = {SPLIT_NAMES[name] for name in nested}
        # `train` alone may be the name of a class: other folders beside it are then classes, too.
        has_splits = bool(splits) and (tops <= set(SPLIT_NAMES) or ("train" in splits and len(splits) > 1))
        found = cls(has_splits)
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

    @classmethod
    def published(cls, tree: ImageTree, split_of: Mapping[str, str]) -> "ClassFolders":
        """Return the folders named by the classes of a published split, at any depth; others are left out."""
        found = cls(has_splits=False)
        for parts in tree.images:
            if parts and parts[-1] in split_of:
                found.classes.setdefault(parts[-1], {}).setdefault("", []).append(parts)
        return found

    def folders(self, name: str) -> list[Parts]:
        """Return all folders of a class."""
        return [parts for places in self.classes[name].values() for parts in places]


def describe(folder: Path) -> str | None:
    """Say in words what a folder holds: "12 class folders with 480 images, no split"; see `Layout.sees`.

    A look stops at 200,000 images. Where there are none, those in zip and tar files are counted.
    """
    tree = ImageTree.grow(folder, limit=_LIMIT)
    if not tree.images and tree.archives and all(name.lower().endswith(_QUICK) for name in tree.archives):
        try:
            tree.open_archives()
        except (OSError, ValueError):
            return None
    found = ClassFolders.of(tree)
    if not found.classes:
        return None
    more = "" if tree.complete else "more than "
    labeled = tree.places(parts for name in found.classes for parts in found.folders(name))
    text = f"{more}{_count(found.classes, 'class folder')} with {more}{_count(labeled, 'image')}"
    sizes = Counter(split for places in found.classes.values() for split in places)
    divided = ", ".join(f"{split} ({sizes[split]})" for split in SPLITS if sizes[split])
    text += f" in {divided}" if found.has_splits else ", no split"
    if found.unlabeled:
        text += f"; {_count(tree.places(found.unlabeled), 'image')} without a label"
    if closed := [*tree.unreadable, *tree.outside]:
        text += f"; {_count(closed, 'folder or link')} that cannot be looked into"
    return text


def _count(things: Iterable[object], noun: str) -> str:
    number = sum(1 for _ in things)
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
