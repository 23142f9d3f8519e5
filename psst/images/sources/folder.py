"""Any folder of images: a folder a class, with or without a folder a split round them, or lists of images."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import decode_image
from psst.images.files.archives import Entry
from psst.images.files.paths import printable
from psst.images.source import SPLITS, UNLABELED, ImageRecord
from psst.images.sources.class_folders import ClassFolders
from psst.images.sources.groups import ImageGroups
from psst.images.sources.image_tree import ImageTree, Parts
from psst.images.sources.lists import SEEDED, UNDIVIDED, ListedRow, assign_splits, read_rows

_Place = tuple[Parts, str]  # folder and name of an image


@dataclass
class FolderSource:
    r"""Images in ``class/``, or in ``train/class/``, ``val/class/`` and ``test/class/``, or named by lists.

    A class is a folder with images in it, named by its path: ``birds/wren``. Folders round everything do
    not count. Images below ``unlabeled/`` have no class and are for the auxiliary tasks. Hidden files are
    skipped, what else is left out is said in a warning. Links are followed if they stay below the root.
    Archives in the root are read as if they were unpacked, where the folder itself lacks the images.
    Names need not be UTF-8: in the name of a class each other byte is written as ``\xe9``.

    Attributes are the arguments of `psst.datamodules.ImageFolder`. Besides, ``splits`` may be the published
    split of each class: folders of other classes are then left out, and all of these must be there.

    Example:
        >>> source = FolderSource("birds", groups=ImageGroups(pattern="(.*)_"), min_images=16)
    """

    root: str | Path
    name: str = "image_folder"
    channels: int = 3
    splits: str | Path | Mapping[str, str] | None = None
    split_seed: int = 0
    groups: ImageGroups | None = None
    min_images: int = 0

    def key(self, size: int) -> dict[str, Any]:
        """The names, sizes and dates of the images, and what decides splits and groups."""
        tree, rows = ImageTree.grow_whole(self.root, self._lists), self._rows()
        published = sorted(self.splits.items()) if isinstance(self.splits, Mapping) else []
        if not published and not _name_images(rows):
            self._say_left_out(tree)
        archives = tree.archives if not tree.images or _name_images(rows) else ()
        options: dict[str, Any] = {"files": tree.fingerprint(archives)}
        if rows or published:
            lists = "\n".join(sorted(map(json.dumps, rows or published)))  # their order does not matter
            options["splits"] = hashlib.blake2b(lists.encode(), digest_size=16).hexdigest()
        elif self.splits is None and ClassFolders.of(tree).has_splits:
            options["splits"] = "folders"
        else:
            options |= {"splits": self.splits or "none", "split_seed": self.split_seed}
        if self.groups is not None:
            options["groups"] = vars(self.groups)
        return options | ({"min_images": self.min_images} if self.min_images else {})

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and file; see `Source.scan`."""
        tree, rows = ImageTree.grow_whole(self.root, self._lists), self._rows()
        if _name_images(rows):
            return self._listed(tree, rows)
        if self.groups is not None and self.groups.column is not None:
            raise ValueError(
                f"{self.groups} needs lists that name images, and `data.init_args.splits={self.splits}` "
                "names none; use `pattern` or `level`."
            )
        if not tree.images:  # as downloaded: nothing is unpacked yet
            tree.open_archives()
        if isinstance(self.splits, Mapping):
            folders, split_of = ClassFolders.published(tree, self.splits), self.splits
            if missing := [name for name in split_of if name not in folders.classes]:
                raise FileNotFoundError(
                    f"{len(missing)} of the {len(split_of)} classes of {self.name} are not in "
                    f"`data.init_args.root={self.root}`, first: {missing[0]}; each needs a folder with its "
                    "images. For a part of the classes use the data set ImageFolder."
                )
        else:
            folders, split_of = self._of_folders(tree)
        placed = [
            (place, ListedRow(name, split))
            for name, split in split_of.items()
            for place in tree.places(folders.folders(name))
        ]
        return self._records(tree, folders, placed)

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        entry: Entry = record.reference
        return decode_image(entry.read(), str(entry), size, self.channels)

    @property
    def _lists(self) -> Path | None:
        """Where the user's lists are."""
        has_none = self.splits in (None, SEEDED, UNDIVIDED) or isinstance(self.splits, Mapping)
        return None if has_none else Path(str(self.splits)).expanduser()

    @property
    def _lists_key(self) -> str:
        return "root" if self.splits == self.root else "splits"

    def _rows(self) -> list[ListedRow]:
        if self._lists is None:
            return []
        return read_rows(self._lists, None if self.groups is None else self.groups.column, self._lists_key)

    def _listed(self, tree: ImageTree, rows: list[ListedRow]) -> list[ImageRecord]:
        """Return the images that the user's lists name, and those without a label."""
        found, lists = _find_images(rows, tree), f"`data.init_args.{self._lists_key}={self.splits}`"
        if None in found and tree.archives:
            tree.open_archives()
            found = _find_images(rows, tree)
        out = [row.image for row in rows if ".." in row.image.replace("\\", "/").split("/")]
        self._warn(out, f"rows of {lists} lead upwards and stand for what they end with")
        missing = []
        by_place: dict[_Place, ListedRow] = {}
        for row, place in zip(rows, found, strict=True):
            if place is None:
                missing.append(row.image)
            elif (other := by_place.setdefault(place, row)) is not row:
                raise ValueError(
                    f"`{row.image}` and `{other.image}` in {lists} are one file; an image belongs to one "
                    "class of one split: remove one of the lines."
                )
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(rows)} images that {lists} lists are missing, first: {missing[0]}; "
                f"put them below `data.init_args.root={self.root}`, or into an archive there, or take them "
                "out of the lists."
            )
        kept = self._large(Counter(row.class_name for row in rows))
        placed = [(place, row) for place, row in by_place.items() if row.class_name in kept]
        return self._records(tree, ClassFolders.of(tree, self.groups), placed)

    def _of_folders(self, tree: ImageTree) -> tuple[ClassFolders, Mapping[str, str]]:
        """Return the class folders and the split of each class that is used."""
        folders = ClassFolders.of(tree, self.groups)
        if not folders.classes:
            outside = sum(map(len, tree.images.values()))
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds no folders with images ({outside} images outside "
                "of class folders); it needs a folder a class, or train/, val/ and test/ with one a class."
            )
        sizes = {name: len(list(tree.places(folders.folders(name)))) for name in folders.classes}
        # Small classes go before a division, which would give them places; lists may name them.
        kept = self._large(sizes)
        split_of = self._split_of(folders, kept)
        unused = [name for name in folders.classes if name in kept and name not in split_of]
        self._warn(
            unused, f"classes are not listed in `data.init_args.splits={self.splits}` and were left out"
        )
        return folders, {name: split for name, split in split_of.items() if name in kept}

    def _say_left_out(self, tree: ImageTree) -> None:
        """Warn of what is no part of the data; at every run, for the store is built at the first one only."""
        others = [path for path in tree.others if "/" in path]
        self._warn(others, "files are not images by their names and were left out")
        stray = ["/".join((*parts, name)) for parts, name in tree.places(ClassFolders.of(tree).stray)]
        self._warn(stray, "images lie in no class folder and were left out")
        filled = {parts[:depth] for parts in tree.images for depth in range(1, len(parts) + 1)}
        empty = ["/".join(parts) for parts in tree.folders if parts not in filled] if filled else []
        self._warn(empty, "folders hold no images and are no classes")

    def _split_of(self, folders: ClassFolders, kept: Collection[str]) -> dict[str, str]:
        """Return the split of each class; a seeded division knows only those that are kept."""
        title = f"`data.init_args.root={self.root}`"
        if self._lists is not None:
            return assign_splits(folders.classes, str(self._lists), self.split_seed, title)
        if self.splits == UNDIVIDED:
            return dict.fromkeys(kept, SPLITS[0])
        if self.splits == SEEDED or not folders.has_splits:
            return assign_splits(kept, SEEDED, self.split_seed, title)
        way_out = f"or set `data.init_args.splits={SEEDED}` to pool the folders and divide the classes."
        if twice := [name for name, places in folders.classes.items() if len(places) > 1]:
            raise ValueError(
                f"{len(twice)} of {len(folders.classes)} classes of {title} are in two splits, first: "
                f"`{twice[0]}` in {' and '.join(folders.classes[twice[0]])}; a class belongs to one split: "
                f"take it out of the other, {way_out}"
            )
        there = [split for split in SPLITS if any(split in places for places in folders.classes.values())]
        if missing := [split for split in SPLITS if split not in there]:
            raise ValueError(
                f"{title} has no class folders with images in {'/ and '.join(missing)}/ beside "
                f"{'/ and '.join(there)}/; add them, {way_out}"
            )
        return {name: next(iter(places)) for name, places in folders.classes.items()}

    def _large(self, sizes: Mapping[str, int]) -> set[str]:
        """Return the classes with enough images, by name -> images; warn of the others."""
        if small := [f"{name} ({size})" for name, size in sorted(sizes.items()) if size < self.min_images]:
            warnings.warn(
                f"`data.init_args.root={self.root}`: {len(small)} of {len(sizes)} classes have fewer than "
                f"`data.init_args.min_images={self.min_images}` images and are out: {', '.join(small)}.",
                stacklevel=5,
            )
        return {name for name, size in sizes.items() if size >= self.min_images}

    def _records(
        self, tree: ImageTree, folders: ClassFolders, placed: Sequence[tuple[_Place, ListedRow]]
    ) -> list[ImageRecord]:
        """Describe the images of classes, by split, class and place, then those without a label."""
        placed = sorted(placed, key=lambda item: (SPLITS.index(item[1].split), item[1].class_name, item[0]))
        unlabeled = [(place, ListedRow("", UNLABELED)) for place in tree.places(folders.unlabeled)]
        records = []
        for place, (name, split, _, group) in (*placed, *unlabeled):
            entry = tree.entry(*place)
            if self.groups is not None:
                group = group or folders.group_of.get(place[0]) or self.groups.of_path(entry.name)
            records.append(ImageRecord(name, split, entry, image_group=group))
        if self.groups is None:
            return records
        alone = [record.reference.name for record in records if record.image_group is None]
        if len(alone) == len(records):
            raise ValueError(
                f"{self.groups} names the group of none of {len(records):,} images, such as `{alone[0]}`; a "
                "pattern is searched in this path, and level 1 is the folder of the image, if that of its "
                "class is another."
            )
        self._warn(alone, "images have no group and stand for themselves")
        return records

    def _warn(self, found: Sequence[str], law: str) -> None:
        if found:
            warnings.warn(
                f"`data.init_args.root={self.root}`: {len(found)} {law}, first: {printable(found[0])}.",
                stacklevel=4,
            )


def _name_images(rows: Sequence[ListedRow]) -> bool:
    """Return whether these are lists of images, not of classes."""
    return bool(rows) and all(row.image for row in rows)


def _find_images(rows: Sequence[ListedRow], tree: ImageTree) -> list[_Place | None]:
    """Return where each listed image lies in ``tree``, None if it does not; paths may be of other machines.

    The longest end counts that is a path below the root, or the end of one image's path only; before the name
    alone come the path below ``images/`` and the folder of the class.
    """
    ends: dict[str, _Place | None] = {}
    whole: dict[str, _Place] = {}
    for parts, name in tree.places(tree.images):
        path = printable("/".join((*parts, name)))
        whole[path] = parts, name
        for end in _ends(path)[1:]:
            ends[end] = None if end in ends else (parts, name)  # None: several images end so
    ends |= whole
    found = []
    for row in rows:
        path = row.image.replace("\\", "/")
        *longer, name = _ends(path) or [path]
        keys = (*longer, f"images/{path}", f"{row.class_name}/{name}", name)
        candidates = (whole.get(path), *map(ends.get, keys))
        found.append(next((place for place in candidates if place is not None), None))
    return found


def _ends(path: str) -> list[str]:
    """Return a path and its ends, the longest first."""
    parts = PurePosixPath(path).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]
