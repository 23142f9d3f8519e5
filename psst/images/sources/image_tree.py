"""The image files below a folder, found by name."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from psst.images.decode import IMAGE_SUFFIXES
from psst.images.files.archives import require_folder
from psst.images.files.members import printable

Parts = tuple[str, ...]
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}  # besides names that begin with a dot
_DEEPEST = 50  # folders below the root


@dataclass
class ImageTree:
    """What lies below a folder. Hidden files and the clutter of file managers do not count.

    Attributes:
        root: the folder.
        images: folder below the root, as parts of its path -> names of the images in it; both sorted.
        others: paths of files that are not images by name, those directly in the root left out.
        empty: paths of folders without any image in or below them.
        outside: links that lead out of the root, nowhere, or round in a circle; they are not followed.
        unreadable: folders that may not be read.
        complete: False if there were more than ``limit`` files of any kind.
        seen: files of any kind that were looked at.
    """

    root: Path
    images: dict[Parts, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    complete: bool = True
    seen: int = 0

    def __len__(self) -> int:
        return sum(len(names) for names in self.images.values())

    def path(self, parts: Parts, name: str) -> str:
        """Return the path of an image."""
        return os.path.join(self.root, *parts, name)  # noqa: PTH118 - a Path an image costs memory

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes and dates of the images."""
        digest = hashlib.blake2b(digest_size=16)
        for parts, names in self.images.items():
            for name in names:
                stat = os.stat(self.path(parts, name))  # noqa: PTH116 - as in `path`
                place = os.fsencode("/".join((*parts, name)))
                digest.update(place + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def grow(root: Path, skip: Path | None = None, limit: int | None = None) -> ImageTree:
    """Look through ``root``; nothing is raised, whatever lies there.

    Args:
        root: a folder.
        skip: a file or folder in it that is not looked at.
        limit: enter no further folder after this many files of any kind; None for no limit.
    """
    tree = ImageTree(root)
    real = os.path.realpath(root)
    skipped = "" if skip is None else os.path.realpath(skip)
    _enter(tree, (), (real,), skipped, limit)
    tree.images = dict(sorted(tree.images.items()))
    return tree


def grow_whole(root: str | Path, skip: Path | None = None) -> ImageTree:
    """Look through the user's ``root``, all of which must be within reach.

    Raises:
        FileNotFoundError: it does not exist or is empty.
        NotADirectoryError: it is a file.
        PermissionError: a folder may not be read.
        ValueError: a link leads out of it, nowhere, or round in a circle.
    """
    tree = grow(require_folder(root), skip)
    if tree.unreadable:
        raise PermissionError(
            f"{len(tree.unreadable)} folders in `data.init_args.root={root}` may not be read, first: "
            f"{printable(tree.unreadable[0]) or '.'}; change their permissions, or move them elsewhere."
        )
    if tree.outside:
        raise ValueError(
            f"{len(tree.outside)} links in `data.init_args.root={root}` lead out of it, nowhere, or round in "
            f"a circle, first: {printable(tree.outside[0])}; replace them by what they lead to."
        )
    return tree


def _enter(tree: ImageTree, parts: Parts, above: Parts, skipped: str, limit: int | None) -> bool:
    """Add a folder to ``tree``; return whether there are images in or below it.

    ``above`` holds the real paths of the root, of the folder, and of those between.
    """
    found = False
    images = []
    for entry in _entries(tree, parts):
        place = "/".join((*parts, entry.name))
        real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}{os.sep}{entry.name}"
        if real == skipped:
            found = True  # at least no empty folder
            continue
        if entry.is_symlink() and not _stays(real, above):
            tree.outside.append(place)
        elif entry.is_dir():
            tree.complete = limit is None or tree.seen < limit
            if len(parts) < _DEEPEST and tree.complete:
                inside = _enter(tree, (*parts, entry.name), (*above, real), skipped, limit)
                found = found or inside
        else:
            tree.seen += 1
            if entry.name.lower().endswith(IMAGE_SUFFIXES):
                images.append(entry.name)
            elif parts:
                tree.others.append(place)
    if images:
        tree.images[parts] = images
    elif parts and not found:
        tree.empty.append("/".join(parts))
    return found or bool(images)


def _entries(tree: ImageTree, parts: Parts) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted, without clutter."""
    try:
        with os.scandir(os.path.join(tree.root, *parts)) as entries:  # noqa: PTH118 - as in `path`
            visible = [entry for entry in entries if not _is_clutter(entry.name)]
    except OSError:
        tree.unreadable.append("/".join(parts))
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _stays(real: str, above: Parts) -> bool:
    """Return whether what a link leads to exists below the root and is none of the folders it is in."""
    return real not in above and real.startswith(above[0] + os.sep) and os.path.exists(real)  # noqa: PTH110 - `real` is text
