"""Files below a folder, without leaving it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from psst.images.files.members import ArchiveError, is_hidden, printable


def find_files(
    folder: Path, suffixes: Sequence[str], below: str = "", top: str = ""
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield paths relative to ``folder`` and what the system said of them, sorted by path.

    Hidden files and folders are left out: copies that editors make, downloads under way.

    Args:
        folder: where to look, at any depth; links to folders are not followed.
        suffixes: what names end in, in lower case.
        below: path of ``folder`` below the first one, with a slash at its end.
        top: the first folder, resolved.

    Raises:
        ArchiveError: a link to a folder, or to a file with one of the suffixes, is broken or leaves ``top``.
    """
    endings, top = tuple(suffixes), top or os.path.realpath(folder)
    with os.scandir(folder) as scan:
        found = sorted(scan, key=lambda entry: entry.name)
    for entry in found:
        if is_hidden(entry.name):
            continue
        name = below + entry.name
        wanted = entry.name.lower().endswith(endings) and entry.name.lower() not in endings
        if entry.is_symlink() and (wanted or os.path.isdir(entry.path)):  # noqa: PTH112 - never raises
            _require_inside(entry, name, top)
        if entry.is_dir(follow_symlinks=False):
            yield from find_files(Path(entry.path), suffixes, f"{name}/", top)
        elif wanted and entry.is_file():
            yield name, entry


def _require_inside(link: os.DirEntry[str], name: str, top: str) -> None:
    target = os.path.realpath(link.path)
    if not os.path.exists(target):  # noqa: PTH110 - names that are not UTF-8 pass as they are
        raise ArchiveError(
            f"`{printable(name)}` in `{top}` is a broken link to `{printable(target)}`; restore what it "
            "stands for, or remove the link."
        )
    if os.path.commonpath([top, target]) != top:
        raise ArchiveError(
            f"`{printable(name)}` in `{top}` is a link to `{printable(target)}`, which lies outside; copy it "
            "into the folder, or set `data.init_args.root` to a folder that holds both."
        )
