"""The one walker of folders: image files below a folder, and in archives beside them, found by name."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from psst.images.files.archives import Entry, archive_entries
from psst.images.files.paths import fingerprint, printable, require_folder

Parts = tuple[str, ...]
"""A folder below the root, as the parts of its path."""
_Place = tuple[Parts, str]  # folder and name of an image

_IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}  # besides names that begin with a dot
_DEEPEST = 50  # folders below the root


@dataclass
class ImageTree:
    """What lies below a folder. Hidden files and the clutter of file managers do not count."""

    root: Path
    images: dict[Parts, list[str]] = field(default_factory=dict)  # folder -> names; both sorted
    folders: list[Parts] = field(default_factory=list)  # those above others first; not all were looked into
    others: list[str] = field(default_factory=list)  # paths of files that are not images by name
    outside: list[str] = field(default_factory=list)  # links out of the root, nowhere or round; not followed
    unreadable: list[str] = field(default_factory=list)  # folders that may not be read
    complete: bool = True  # there were not more than ``limit`` files of any kind
    _archived: dict[_Place, Entry] = field(default_factory=dict)

    @classmethod
    def grow(cls, root: Path, skip: Path | None = None, limit: int | None = None) -> "ImageTree":
        """Look through ``root``, but for a file or folder ``skip``; nothing is raised, whatever lies there.

        Folders are entered level by level: the names of all class folders are known before their images are.
        No further folder is entered after ``limit`` files of any kind.
        """
        tree, seen = cls(root), 0
        skipped = "" if skip is None else os.path.realpath(skip)
        # A folder waits with the real paths of the root, of itself, and of those between, so that links that
        # lead back to one of them are told from those that lead on.
        waiting: deque[tuple[Parts, Parts]] = deque([((), (os.path.realpath(root),))])
        while waiting and tree.complete:
            parts, above = waiting.popleft()
            images = []
            for entry in _entries(tree, parts):
                name = entry.name
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}{os.sep}{name}"
                if real == skipped:
                    continue
                # what a link leads to has to exist below the root, and be none of the folders it is in
                if entry.is_symlink() and (
                    real in above or not real.startswith(above[0] + os.sep) or not os.path.exists(real)  # noqa: PTH110 - `real` is text
                ):
                    tree.outside.append("/".join((*parts, name)))
                elif entry.is_dir():
                    tree.folders.append((*parts, name))
                    if len(parts) < _DEEPEST:
                        waiting.append(((*parts, name), (*above, real)))
                else:
                    seen += 1
                    if name.lower().endswith(_IMAGES):
                        images.append(name)
                    else:
                        tree.others.append("/".join((*parts, name)))
            if images:
                tree.images[parts] = images
            tree.complete = limit is None or seen < limit or not waiting
        tree.images = dict(sorted(tree.images.items()))
        return tree

    @classmethod
    def grow_whole(cls, root: str | Path, skip: Path | None = None) -> "ImageTree":
        """Look through the user's ``root``, all of which must be within reach."""
        tree = cls.grow(require_folder(root), skip)
        if tree.unreadable:
            raise PermissionError(
                f"{len(tree.unreadable)} folders in `data.init_args.root={root}` may not be read, first: "
                f"{printable(tree.unreadable[0]) or '.'}; change their permissions, or move them elsewhere."
            )
        if tree.outside:
            raise ValueError(
                f"{len(tree.outside)} links in `data.init_args.root={root}` lead out of it, nowhere, or "
                f"round in a circle, first: {printable(tree.outside[0])}; replace them by what they lead to."
            )
        return tree

    def places(self, folders: Iterable[Parts]) -> Iterator[_Place]:
        """Yield the images in some of the folders."""
        return ((parts, name) for parts in folders for name in self.images[parts])

    @property
    def archives(self) -> list[str]:
        """Names of the zip and tar files in the root itself."""
        return [name for name in self.others if "/" not in name and name.lower().endswith(_ARCHIVES)]

    def entry(self, parts: Parts, name: str) -> Entry:
        """Return an image, to be read."""
        if (parts, name) in self._archived:
            return self._archived[parts, name]
        return Entry(printable("/".join((*parts, name))), self.root, partial(_read, self._path(parts, name)))

    def entries(self) -> Iterator[Entry]:
        """Return all files, images first, to be read."""
        others = ((tuple(above), name) for *above, name in (path.split("/") for path in self.others))
        return (self.entry(*place) for place in chain(self.places(self.images), others))

    def fingerprint(self, others: Iterable[str] = ()) -> str:
        """Return a hash of the names, sizes and dates of the images, and of some of the other files."""
        files = chain(self.places(self.images), (((), path) for path in others))
        return fingerprint(
            (f"{'/'.join(parts)}/{name}", os.stat(self._path(parts, name)))  # noqa: PTH116 - as in `_path`
            for parts, name in files
        )

    def open_archives(self) -> None:
        """Add the images in the archives, as if they had been unpacked into the root; files go first."""
        found: dict[Parts, set[str]] = {parts: set(names) for parts, names in self.images.items()}
        for archive in self.archives:
            for entry in archive_entries(self.root / archive):
                *above, name = entry.name.split("/")
                parts = tuple(above)
                if name.lower().endswith(_IMAGES) and name not in found.setdefault(parts, set()):
                    found[parts].add(name)
                    self._archived[parts, name] = entry
        self.images = {parts: sorted(names) for parts, names in sorted(found.items()) if names}

    def _path(self, parts: Parts, name: str) -> str:
        return "/".join((str(self.root), *parts, name))  # a Path an image costs time and memory


def _entries(tree: ImageTree, parts: Parts) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted, without clutter."""
    try:
        with os.scandir(tree._path(parts, "")) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        tree.unreadable.append("/".join(parts))
        return []
    return [each for each in found if not each.name.startswith(".") and each.name.lower() not in _CLUTTER]


def _read(path: str) -> bytes:
    if not Path(path).is_file():  # a pipe would be waited for
        raise ValueError(f"`{printable(path)}` is no regular file; take it out of the data set.")
    return Path(path).read_bytes()
