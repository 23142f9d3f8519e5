"""Tar archives, compressed or not: where their members lie."""

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from psst.images.files.members import (
    ArchiveError,
    folders_of,
    is_hidden,
    printable,
    require_growth,
    safe_name,
)
from psst.images.files.temporary import unpacked

OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
"""First bytes of a compressed file -> what opens it."""
_ALLOWANCE = 1 << 30  # bytes that any archive may unpack to: 1 GiB does no harm on a machine that trains
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20  # bytes
_DAMAGES = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)


def open_tar(path: Path) -> tuple[IO[bytes], dict[str, tuple[int, int]]]:
    """Open a tar archive; one compressed by gzip, bzip2 or xz is decompressed into a temporary file.

    Returns:
        The uncompressed archive, and where in it files lie, and links to files: path -> offset, size.

    Raises:
        ArchiveError: it is damaged, cut off, or grows like a bomb; a member leads out, is a device or sparse,
            comes twice, or is a link to what the archive does not hold.
        OSError: there is no room for the temporary file.
    """
    with path.open("rb") as raw:
        head = raw.read(6)
    opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), None)
    file = unpacked(_decompressed(path, opener), f"`{path}`") if opener else path.open("rb")
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            return file, _places(archive, path, os.fstat(file.fileno()).st_size)
    except BaseException as error:
        file.close()
        if isinstance(error, _DAMAGES) and not isinstance(error, ArchiveError):
            raise _unreadable(path, error) from error
        raise


def _unreadable(path: Path, error: BaseException) -> ArchiveError:
    return ArchiveError(f"`{path}` cannot be read as a tar archive ({error}); download it again.")


def _decompressed(path: Path, opener: Callable[..., Any]) -> Iterator[bytes]:
    size, packed = 0, path.stat().st_size
    try:
        with opener(path, "rb") as stream:
            while piece := stream.read(_CHUNK):
                size += len(piece)
                require_growth(size, packed, _ALLOWANCE, f"`{path}`")
                yield piece
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _unreadable(path, error) from error


def _places(archive: tarfile.TarFile, path: Path, size: int) -> dict[str, tuple[int, int]]:
    """Return path -> offset, size of the files and links in an archive of ``size`` bytes."""
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    names, empty, end = list[str](), {"."}, 0
    for info in archive:
        end = _end(info, size)
        if info.isdir():
            if posixpath.normpath(info.name) != ".":
                empty.add(safe_name(info.name, path))
            continue
        name = safe_name(info.name, path)
        names.append(name)
        if info.issym() or info.islnk():
            links[name] = _target(info, name, path)
        elif not info.isreg() or info.issparse():
            kind = "a sparse file" if info.isreg() else "a device, a pipe or of an unknown kind"
            raise ArchiveError(f"`{name}` in `{path}` is {kind}; pack the archive again without it.")
        elif not is_hidden(name):
            places[name] = info.offset_data, info.size
    assert archive.fileobj is not None
    archive.fileobj.seek(end)
    if archive.fileobj.read(_BLOCK) != bytes(_BLOCK):  # a cut between two members shows only here
        raise tarfile.ReadError(f"it ends after {size} bytes without the mark of its end")
    return places | _linked(links, places, folders_of(names, path) | empty, path)


def _end(info: tarfile.TarInfo, size: int) -> int:
    """Return where the next header begins."""
    held = info.size if info.isreg() and not info.issparse() else 0
    if info.size < 0 or info.offset_data <= info.offset:
        raise tarfile.ReadError("a header has a negative size")
    if info.offset_data + held > size:
        raise tarfile.ReadError(f"it ends inside {printable(info.name)}")
    return info.offset_data + -(-held // _BLOCK) * _BLOCK


def _target(info: tarfile.TarInfo, name: str, path: Path) -> str:
    """Return the path in the archive that a link stands for, without looking if it is there."""
    text = printable(info.linkname)
    if info.islnk():
        return safe_name(info.linkname, path)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), text))
    down = text.lstrip("./")  # `..` first is the way up; later it may leave by way of another link
    if (
        text.startswith("/")
        or target.split("/")[0] == ".."
        or ".." in down.split("/")
        or "\\" in info.linkname
    ):
        raise ArchiveError(
            f"`{name}` in `{path}` is a link to `{text}`, which leads out of the archive; pack the file "
            "itself."
        )
    return target


def _linked(
    links: Mapping[str, str], places: Mapping[str, tuple[int, int]], folders: set[str], path: Path
) -> dict[str, tuple[int, int]]:
    """Return the places of what the links stand for, over any number of links."""
    linked = {}
    for name, first in links.items():
        target, steps = first, 0
        while target in links and steps < len(links):
            target, steps = links[target], steps + 1
        if target in places:
            linked[name] = places[target]
        elif target not in folders:  # the files of a folder are listed there
            raise ArchiveError(
                f"`{name}` in `{path}` is a link to `{first}`, which the archive does not hold; pack it "
                "again with what the link stands for."
            )
    return linked
