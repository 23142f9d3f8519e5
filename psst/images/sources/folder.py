"""Any folder of images: a folder a class, with or without a folder a split round them."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import decode_image
from psst.images.files.archives import Entry
from psst.images.files.members import printable
from psst.images.source import SPLITS, UNLABELED, ImageRecord
from psst.images.sources.class_folders import ClassFolders, describe, oddities, sort_folders
from psst.images.sources.class_lists import SEEDED, assign_splits, read_lists
from psst.images.sources.image_lists import ListedImage, find_images, read_image_lists
from psst.images.sources.image_tree import ImageTree, Parts, grow_whole
from psst.images.sources.layout import Layout


class FolderSource:
    r"""Images in ``class/``, or in ``train/class/``, ``val/class/`` and ``test/class/``.

    A class is a folder with images in it, named by its path: ``birds/wren``. Folders round everything do
    not count. Images below ``unlabeled/`` have no class and are for the auxiliary tasks. Hidden files are
    skipped, what else is left out is said in a warning. Links are followed if they stay below the root.

    Names need not be UTF-8: in the name of a class each other byte is written as ``\xe9``.

    Args:
        root: the folder.
        name: of the data set.
        channels: 1 for grayscale, 3 for color.
        splits: None for the splits of the folders, or "seeded" if there are none; "seeded" to divide all
            classes 64:16:20; or the path of lists, see `read_lists`.
        split_seed: of a seeded division.
    """

    def __init__(
        self,
        root: str | Path,
        name: str = "image_folder",
        channels: int = 3,
        splits: str | None = None,
        split_seed: int = 0,
    ) -> None:
        self.root = root
        self.name = name
        self.channels = channels
        self.splits = splits
        self.split_seed = split_seed

    def key(self, size: int) -> dict[str, Any]:
        """The names, sizes and dates of the images, and what decides the splits."""
        tree = self._tree()
        options: dict[str, Any] = {"files": tree.fingerprint()}
        if self.splits is None and sort_folders(tree).has_splits:
            options["splits"] = "folders"
        elif self.splits is None or self.splits == SEEDED:
            options |= {"splits": SEEDED, "split_seed": self.split_seed}
        else:
            lists = json.dumps([read_image_lists(self.splits) or read_lists(self.splits)], sort_keys=True)
            options["splits"] = hashlib.blake2b(lists.encode(), digest_size=16).hexdigest()
        return options

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and file; see `Source.scan`.

        Raises:
            PermissionError: besides, a folder may not be read.
            ValueError: besides, a link leads out of the folder, or a class is in two splits.
        """
        tree = self._tree()
        listed = None if self.splits in (None, SEEDED) else read_image_lists(str(self.splits))
        if listed is not None:
            return self._listed(tree, listed)
        folders = sort_folders(tree)
        if not folders.classes:
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds no folders with images ({len(tree)} images outside "
                "of class folders); it needs a folder a class, or train/, val/ and test/ with one a class."
            )
        for law, names in oddities(tree, folders).items():
            self._warn(names, law)
        split_of = self._split_of(folders)
        unused = [name for name in folders.classes if name not in split_of]
        self._warn(
            unused, f"classes are not listed in `data.init_args.splits={self.splits}` and were left out"
        )
        places = sorted((SPLITS.index(split), name) for name, split in split_of.items())
        labeled = [
            ImageRecord(name, SPLITS[split], entry)
            for split, name in places
            for entry in _entries(tree, (parts for of in folders.classes[name].values() for parts in of))
        ]
        return labeled + _unlabeled(tree, folders)

    def _listed(self, tree: ImageTree, listed: list[ListedImage]) -> list[ImageRecord]:
        """Return the images that the user's lists name, and those without a label."""
        found = find_images(listed, tree)
        missing = [image.path for image, place in found.items() if place is None]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(found)} images that `data.init_args.splits={self.splits}` lists are "
                f"not below `data.init_args.root={self.root}`, first: {missing[0]}; add them, or take "
                "them out."
            )
        by_place: dict[tuple[Parts, str], ListedImage] = {}
        for image, place in found.items():
            if place is not None and (other := by_place.setdefault(place, image)) is not image:
                raise ValueError(
                    f"`{image.path}` and `{other.path}` in `data.init_args.splits={self.splits}` are one "
                    "file; an image belongs to one class of one split: remove one of the lines."
                )
        places = sorted((SPLITS.index(image.split), image.class_name, at) for at, image in by_place.items())
        records = [ImageRecord(name, SPLITS[split], _entry(tree, *place)) for split, name, place in places]
        return records + _unlabeled(tree, sort_folders(tree))

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        entry: Entry = record.reference
        return decode_image(entry.read(), str(entry), size, self.channels)

    def _tree(self) -> ImageTree:
        lists = None if self.splits in (None, SEEDED) else Path(str(self.splits)).expanduser()
        return grow_whole(self.root, skip=lists)

    def _split_of(self, folders: ClassFolders) -> dict[str, str]:
        """Return the split of each class."""
        if self.splits is not None or not folders.has_splits:
            return assign_splits(
                folders.classes, self.splits or SEEDED, self.split_seed, f"`data.init_args.root={self.root}`"
            )
        way_out = f"or set `data.init_args.splits={SEEDED}` to pool the folders and divide the classes."
        twice = [name for name, places in folders.classes.items() if len(places) > 1]
        if twice:
            raise ValueError(
                f"{len(twice)} of {len(folders.classes)} classes of `data.init_args.root={self.root}` are in "
                f"two splits, first: `{twice[0]}` in {' and '.join(folders.classes[twice[0]])}; a class "
                f"belongs to one split: take it out of the other, {way_out}"
            )
        missing = [split for split in SPLITS if split not in folders.splits]
        if missing:
            raise ValueError(
                f"`data.init_args.root={self.root}` has no class folders with images in "
                f"{'/ and '.join(missing)}/ beside {'/ and '.join(folders.splits)}/; add them, {way_out}"
            )
        return {name: next(iter(places)) for name, places in folders.classes.items()}

    def _warn(self, found: Sequence[str], law: str) -> None:
        if found:
            warnings.warn(
                f"`data.init_args.root={self.root}`: {len(found)} {law}, first: {printable(found[0])}.",
                stacklevel=3,
            )


def _unlabeled(tree: ImageTree, folders: ClassFolders) -> list[ImageRecord]:
    return [ImageRecord("", UNLABELED, entry) for entry in _entries(tree, folders.unlabeled)]


def _entries(tree: ImageTree, folders: Iterable[Parts]) -> Iterator[Entry]:
    for parts in folders:
        for name in tree.images[parts]:
            yield _entry(tree, parts, name)


def _entry(tree: ImageTree, parts: Parts, name: str) -> Entry:
    return Entry(printable("/".join((*parts, name))), tree.root, partial(_read, tree.path(parts, name)))


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


LAYOUTS = (
    Layout("train/, val/ and test/ with a folder a class", partial(describe, with_splits=True), FolderSource),
    Layout("a folder a class with its images", partial(describe, with_splits=False), FolderSource),
)
"""Class folders with splits, then without."""
