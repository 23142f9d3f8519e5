"""Files in zip and tar archives, read in place: nothing is extracted, and no archive is trusted."""

import bz2
import gzip
import lzma
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from psst.images.files.content import kind_of
from psst.images.files.paths import printable
from psst.images.files.temporary import unpacked

_OPENERS: dict[bytes, Callable[..., Any]] = {  # by the first bytes of a compressed tar
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
# Bytes that any member of a zip may unpack to, 64 MiB, since it is read into memory as a whole; and any tar,
# 1 GiB, which does no harm on a machine that trains.
_ZIP_ALLOWANCE, _TAR_ALLOWANCE = 1 << 26, 1 << 30
# Unpacked bytes a packed byte may stand for, above an allowance. Archives of photographs reach 1.1, of arrays
# of pixels about 5 (MNIST), of file lists 20, of black-and-white masks 100. Deflate ends at 1032, and bombs
# are made of such bytes or worse.
_RATIO = 200
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20  # bytes
_TAR_DAMAGES = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)
_ZIP_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


class _ArchiveError(ValueError):
    """An archive is damaged, or no data set would hold what it holds; the message names it and the member."""


@dataclass(frozen=True)
class Entry:
    r"""One file.

    Attributes:
        name: path inside its folder or archive, with forward slashes; bytes that are not UTF-8 as ``\xe9``.
        container: the folder or archive.
        read: returns the bytes; safe to call from several threads.

    Example:
        ``{entry.name: entry.read() for entry in archive_entries(Path("images.zip"))}``
    """

    name: str
    container: Path
    read: Callable[[], bytes]

    def __str__(self) -> str:
        separator = "/" if self.container.is_dir() else ": "
        return printable(f"{self.container}{separator}{self.name}")


def archive_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip or tar archive, told apart by their first bytes, whatever its name.

    Raises:
        ValueError: it is neither, or as `zip_entries` and `tar_entries` say.
        OSError: it cannot be read, or there is no room to decompress it.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return zip_entries(path)
    kind = kind_of(head.lstrip())
    if head.startswith(tuple(_OPENERS)) or kind == "a tar archive" or (head and tarfile.is_tarfile(path)):
        return tar_entries(path)
    raise _ArchiveError(
        f"`{path}` is no zip and no tar archive (also gz, bz2, xz){f' but {kind}' if kind else ''}; download "
        "it again, or unpack it by hand."
    )


def zip_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip archive; it stays open as long as an entry is alive.

    Raises:
        ValueError: the archive is damaged or not a zip file, or a member is encrypted, a link, there twice,
            would unpack like a bomb, or leads out of the archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, "zip", error) from error
    named = [(_zip_name(info), info) for info in archive.infolist()]
    files = {info: _safe_name(name, path) for name, info in named if not name.endswith("/")}
    _require_distinct(files.values(), path)
    size = path.stat().st_size
    for info, name in files.items():
        if info.flag_bits & 0x1:
            raise _ArchiveError(f"`{name}` in `{path}` is encrypted; unpack it with its password first.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _ArchiveError(f"`{name}` in `{path}` is a link; pack the file itself.")
        if not _is_hidden(name):
            packed = min(info.compress_size, size)
            _require_growth(info.file_size, packed, _ZIP_ALLOWANCE, f"`{name}` in `{path}`")
            yield Entry(name, path, partial(_read_zip, archive, info, name))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the path: UTF-8 is often not announced, and what is not UTF-8 is code page 437."""
    name = info.filename.replace("\\", "/")  # written by old tools for Windows
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    try:
        return archive.read(info)
    except _ZIP_DAMAGES as error:
        raise _ArchiveError(
            f"`{name}` in `{archive.filename}` cannot be read ({error}); download the archive again."
        ) from error


def tar_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a tar archive.

    It stays open as long as an entry is alive; one compressed by gzip, bzip2 or xz is decompressed once, into
    a temporary file that lives as long.

    Raises:
        ValueError: the archive is damaged or cut off, no tar file, would unpack like a bomb; or a member is
            a link, a device or sparse, there twice, or leads out.
        OSError: there is no room for the temporary file.
    """
    with path.open("rb") as raw:
        head = raw.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    file = unpacked(_decompressed(path, opener), f"`{path}`") if opener else path.open("rb")
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            places = _places(archive, path, os.fstat(file.fileno()).st_size)
    except BaseException as error:
        file.close()
        if isinstance(error, _TAR_DAMAGES) and not isinstance(error, _ArchiveError):
            raise _unreadable(path, "tar", error) from error
        raise
    for name, (offset, size) in places.items():
        yield Entry(name, path, partial(_read_tar, file, offset, size, f"`{name}` in `{path}`"))


def _decompressed(path: Path, opener: Callable[..., Any]) -> Iterator[bytes]:
    size, packed = 0, path.stat().st_size
    try:
        with opener(path, "rb") as stream:
            while piece := stream.read(_CHUNK):
                size += len(piece)
                _require_growth(size, packed, _TAR_ALLOWANCE, f"`{path}`")
                yield piece
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _unreadable(path, "tar", error) from error


def _places(archive: tarfile.TarFile, path: Path, size: int) -> dict[str, tuple[int, int]]:
    """Return path -> offset, size of the files in an uncompressed archive of ``size`` bytes."""
    places: dict[str, tuple[int, int]] = {}
    names, end = list[str](), 0
    for info in archive:
        end = _end(info, size)
        if posixpath.normpath(info.name) == "." and info.isdir():
            continue
        name = _safe_name(info.name, path)
        if info.isdir():
            continue
        names.append(name)
        if info.issym() or info.islnk():
            raise _ArchiveError(
                f"`{name}` in `{path}` is a link; pack the file itself (`tar --dereference`)."
            )
        if not info.isreg() or info.issparse():
            kind = "a sparse file" if info.isreg() else "a device, a pipe or of an unknown kind"
            raise _ArchiveError(f"`{name}` in `{path}` is {kind}; pack the archive again without it.")
        if not _is_hidden(name):
            places[name] = info.offset_data, info.size
    assert archive.fileobj is not None
    archive.fileobj.seek(end)
    if archive.fileobj.read(_BLOCK) != bytes(_BLOCK):  # a cut between two members shows only here
        raise tarfile.ReadError(f"it ends after {size} bytes without the mark of its end")
    _require_distinct(names, path)
    return places


def _end(info: tarfile.TarInfo, size: int) -> int:
    """Return where the next header begins."""
    held = info.size if info.isreg() and not info.issparse() else 0
    if info.size < 0 or info.offset_data <= info.offset:
        raise tarfile.ReadError("a header has a negative size")
    if info.offset_data + held > size:
        raise tarfile.ReadError(f"it ends inside {printable(info.name)}")
    return info.offset_data + -(-held // _BLOCK) * _BLOCK


def _read_tar(file: IO[bytes], offset: int, size: int, what: str) -> bytes:
    pieces, left = [], size
    while left and (piece := os.pread(file.fileno(), left, offset)):  # at most 2 GiB a call
        pieces.append(piece)
        offset, left = offset + len(piece), left - len(piece)
    if left:
        raise _ArchiveError(
            f"{what} has {size} bytes, {size - left} are left; the archive changed while it was read."
        )
    return b"".join(pieces)


def _unreadable(path: Path, kind: str, error: BaseException) -> _ArchiveError:
    return _ArchiveError(f"`{path}` cannot be read as a {kind} archive ({error}); download it again.")


def _is_hidden(name: str) -> bool:
    """Return if no data set means this: ``.ipynb_checkpoints/``, the Mac's ``__MACOSX/`` and ``._name``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _safe_name(name: str, archive: Path) -> str:
    """Return the path of a member, printable and without ``.`` parts; it may not lead out, on any system."""
    shown = printable(name)
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _ArchiveError(
            f"`{archive}` holds `{shown}`, which leads out of the folder it is unpacked to; do not trust the "
            "archive, get it from its source again."
        )
    path = "/".join(part for part in shown.split("/") if part not in ("", "."))
    if not path:
        raise _ArchiveError(f"`{archive}` holds a file without a name; get it from its source again.")
    return path


def _require_distinct(names: Iterable[str], archive: Path) -> None:
    """Refuse an archive in which a path comes twice or is a folder of another."""
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        if name in seen:
            raise _ArchiveError(
                f"`{archive}` holds `{name}` twice; which of them counts is unclear: pack it again with one "
                "of them."
            )
        seen.add(name)
        while (name := posixpath.dirname(name)) and name not in folders:
            folders.add(name)
    if clash := folders & seen:
        raise _ArchiveError(f"`{archive}` holds `{min(clash)}` as a file and as a folder; pack it again.")


def _require_growth(unpacked: int, packed: int, allowance: int, what: str) -> None:
    """Refuse ``packed`` bytes that stand for more than a data set would need."""
    if unpacked > max(allowance, _RATIO * packed):
        raise _ArchiveError(
            f"{what} unpacks to more than {_RATIO} times its {packed} bytes ({unpacked} or more), as "
            "decompression bombs do and images do not; get it from its source again, or unpack it by hand if "
            "you trust it."
        )
