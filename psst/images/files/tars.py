"""Tar archives, compressed or not: where their members lie."""

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from psst.images.files.members import (
    ArchiveError,
    is_hidden,
    printable,
    require_distinct,
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
        The uncompressed archive, and where in it files lie: path -> offset, size.

    Raises:
        ArchiveError: it is damaged, cut off, or grows like a bomb; a member leads out, comes twice, or is a
            link, a device or sparse.
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
    """Return path -> offset, size of the files in an archive of ``size`` bytes."""
    places: dict[str, tuple[int, int]] = {}
    names, end = list[str](), 0
    for info in archive:
        end = _end(info, size)
        if posixpath.normpath(info.name) == "." and info.isdir():
            continue
        name = safe_name(info.name, path)
        if info.isdir():
            continue
        names.append(name)
        if info.issym() or info.islnk():
            raise ArchiveError(f"`{name}` in `{path}` is a link; pack the file itself (`tar --dereference`).")
        if not info.isreg() or info.issparse():
            kind = "a sparse file" if info.isreg() else "a device, a pipe or of an unknown kind"
            raise ArchiveError(f"`{name}` in `{path}` is {kind}; pack the archive again without it.")
        if not is_hidden(name):
            places[name] = info.offset_data, info.size
    assert archive.fileobj is not None
    archive.fileobj.seek(end)
    if archive.fileobj.read(_BLOCK) != bytes(_BLOCK):  # a cut between two members shows only here
        raise tarfile.ReadError(f"it ends after {size} bytes without the mark of its end")
    require_distinct(names, path)
    return places


def _end(info: tarfile.TarInfo, size: int) -> int:
    """Return where the next header begins."""
    held = info.size if info.isreg() and not info.issparse() else 0
    if info.size < 0 or info.offset_data <= info.offset:
        raise tarfile.ReadError("a header has a negative size")
    if info.offset_data + held > size:
        raise tarfile.ReadError(f"it ends inside {printable(info.name)}")
    return info.offset_data + -(-held // _BLOCK) * _BLOCK
