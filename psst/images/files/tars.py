"""Tar archives, compressed or not: where their members lie."""

import bz2
import gzip
import lzma
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from psst.images.files.members import (
    ARCHIVE_ALLOWANCE,
    ArchiveError,
    is_hidden,
    printable,
    require_growth,
    require_unique,
    safe_name,
)

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20  # bytes


@dataclass
class TarIndex:
    """What a tar archive holds.

    Attributes:
        files: path -> header.
        links: path -> path of the file or folder in the archive that it stands for.
        targets: path of a symbolic link -> its text.
    """

    files: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes] | None]]:
    """Open a tar archive; a compressed one is decompressed into a temporary file without a name.

    Yields:
        The archive, and the temporary file; None in its place if the archive is not compressed. The temporary
        file stays open until nobody refers to it.

    Raises:
        ArchiveError: inside the block too, the archive is damaged, cut off, or grows like a bomb.
        OSError: there is no room for the temporary file.
    """
    try:
        file = _decompressed(path)
        with tarfile.open(None if file else path, "r:", fileobj=file) as archive:
            yield archive, file
    except ArchiveError:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> ArchiveError:
    return ArchiveError(f"`{path}` cannot be read as a tar archive ({error}); download it again.")


def is_compressed(head: bytes) -> bool:
    """Return if a file begins like gzip, bzip2 or xz."""
    return head.startswith(tuple(_OPENERS))


def _decompressed(path: Path) -> IO[bytes] | None:
    """Return the decompressed bytes of ``path`` in a temporary file, None if it is not compressed."""
    with path.open("rb") as raw:
        head = raw.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        return None
    packed, unpacked = path.stat().st_size, 0
    file = tempfile.TemporaryFile(prefix="psst-")  # noqa: SIM115 - entries keep it open
    try:
        with opener(path, "rb") as stream:
            while piece := _read(stream, path):
                unpacked += len(piece)
                require_growth(unpacked, packed, ARCHIVE_ALLOWANCE, f"`{path}`")
                _write(file, piece, path)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _read(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read(_CHUNK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _unreadable(path, error) from error


def _write(file: IO[bytes], piece: bytes, path: Path) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise OSError(
            error.errno,
            f"`{path}` cannot be decompressed into `{tempfile.gettempdir()}` ({error.strerror}); free some "
            "space there, set TMPDIR to a folder on a larger disk, or decompress the archive by hand.",
        ) from error


def tar_index(archive: tarfile.TarFile, path: Path, size: int) -> TarIndex:
    """Return the files and links of an archive of ``size`` decompressed bytes.

    Raises:
        ArchiveError: a member leads out, is a device or sparse, comes twice, is cut off or a broken link.
        tarfile.TarError: the archive is damaged.
    """
    index, folders, end = TarIndex(), {"."}, 0
    names: list[str] = []
    for info in archive:
        end = _end(info, size)
        if info.isdir():
            folders.add(_folder_name(info.name, path))
            continue
        name = safe_name(info.name, path)
        names.append(name)
        folders.update(_parents(name))
        if info.issym() or info.islnk():
            index.links[name] = _target(info, name, path)
            if info.issym():
                index.targets[name] = printable(info.linkname)
        elif not info.isreg() or info.issparse():
            kind = "a sparse file" if info.isreg() else "a device, a pipe or of an unknown kind"
            raise ArchiveError(f"`{name}` in `{path}` is {kind}; pack the archive again without it.")
        elif not is_hidden(name):
            index.files[name] = info
    _require_end(archive, end, size)
    require_unique(names, path)
    _resolve(index, folders, path)
    return index


def _end(info: tarfile.TarInfo, size: int) -> int:
    """Return where the next header begins."""
    held = info.size if info.isreg() and not info.issparse() else 0
    if info.size < 0 or info.offset_data <= info.offset:
        raise tarfile.ReadError("a header has a negative size")
    if info.offset_data + held > size:
        raise tarfile.ReadError(f"it ends inside {printable(info.name)}")
    return info.offset_data + -(-held // _BLOCK) * _BLOCK


def _folder_name(name: str, path: Path) -> str:
    return "." if posixpath.normpath(name) == "." else safe_name(name, path)


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _require_end(archive: tarfile.TarFile, end: int, size: int) -> None:
    """Check for the block of zeros after the last member: a cut between two members shows only there."""
    assert archive.fileobj is not None
    archive.fileobj.seek(end)
    mark = archive.fileobj.read(_BLOCK)
    if mark != bytes(_BLOCK):
        raise tarfile.ReadError(f"it ends after {size} bytes without the mark of its end")


def _target(info: tarfile.TarInfo, name: str, path: Path) -> str:
    """Return the path in the archive that a link stands for, without looking if it is there."""
    text = printable(info.linkname)
    if info.islnk():
        return safe_name(info.linkname, path)
    up = text.split("/")
    first_down = next((i for i, part in enumerate(up) if part not in ("..", ".")), len(up))
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), text))
    if (
        text.startswith("/")
        or target.split("/")[0] == ".."
        or ".." in up[first_down:]
        or "\\" in info.linkname
    ):
        raise ArchiveError(
            f"`{name}` in `{path}` is a link to `{text}`, which leads out of the archive; pack the file "
            "itself."
        )
    return target


def _resolve(index: TarIndex, folders: set[str], path: Path) -> None:
    """Have each link stand for a file or folder itself, over any number of links."""
    for name, first in index.links.items():
        target, steps = first, 0
        while target in index.links and steps < len(index.links):
            target, steps = index.links[target], steps + 1
        if target not in index.files and target not in folders:
            raise ArchiveError(
                f"`{name}` in `{path}` is a link to `{first}`, which the archive does not hold; pack it "
                "again with what the link stands for."
            )
        index.links[name] = target
