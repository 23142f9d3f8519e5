"""Images in a folder a class, whose splits are published."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import IMAGE_SUFFIXES, decode_image
from psst.images.files.archives import (
    Entry,
    fingerprint,
    fingerprint_of,
    folder_entries,
    require_folder,
    zip_entries,
)
from psst.images.source import SPLITS, ImageRecord


class ListedImages:
    """Images in folders named by their classes, at any depth, and in zip archives of such folders.

    Folders of other classes are left out: the whole of ImageNet serves for mini-ImageNet.

    Args:
        root: the folder.
        name: of the data set.
        split_of: the published split of each class; all of them must be there.
        archives: names of the zip archives.
    """

    channels = 3

    def __init__(
        self, root: str | Path, name: str, split_of: Mapping[str, str], archives: Sequence[str] = ()
    ) -> None:
        self.root = root
        self.name = name
        self.split_of = split_of
        self.archives = archives

    def key(self, size: int) -> dict[str, Any]:
        """The names, sizes and dates of the files, and the splits."""
        root = require_folder(self.root)
        archive = self._archive(root)
        files = fingerprint_of([archive], root) if archive else fingerprint(root, IMAGE_SUFFIXES)
        splits = json.dumps(sorted(self.split_of.items())).encode()
        digest = hashlib.blake2b(splits, digest_size=16).hexdigest()
        return {"files": files, "splits": digest}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and name; see `Source.scan`."""
        classes = self._classes()
        missing = [name for name in self.split_of if name not in classes]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of the {len(self.split_of)} classes of {self.name} are not in "
                f"`data.init_args.root={self.root}`, first: {missing[0]}; each needs a folder with its "
                "images. For a part of the classes use the data set ImageFolder."
            )
        ordered = sorted(self.split_of, key=lambda name: (SPLITS.index(self.split_of[name]), name))
        return [
            ImageRecord(name, self.split_of[name], entry)
            for name in ordered
            for entry in sorted(classes[name], key=lambda entry: entry.name)
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, 3]``."""
        entry: Entry = record.reference
        return decode_image(entry.read(), str(entry), size, self.channels)

    def _classes(self) -> dict[str, list[Entry]]:
        classes: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries(require_folder(self.root)):
            label = PurePosixPath(entry.name).parent.name
            if label in self.split_of:
                classes[label].append(entry)
        return classes

    def _entries(self, root: Path) -> Iterator[Entry]:
        archive = self._archive(root)
        if archive is None:
            return folder_entries(root, IMAGE_SUFFIXES)
        return (entry for entry in zip_entries(archive) if entry.name.lower().endswith(IMAGE_SUFFIXES))

    def _archive(self, root: Path) -> Path | None:
        return next((root / name for name in self.archives if (root / name).is_file()), None)
