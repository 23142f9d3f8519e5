"""Image files where they lie: folders, zip and tar archives read in place, nothing extracted."""

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from psst.images.files.content import kind_of
from psst.images.files.members import (
    ArchiveError,
    is_hidden,
    printable,
    require_distinct,
    require_growth,
    safe_name,
)
from psst.images.files.tars import OPENERS, open_tar

_ALLOWANCE = 1 << 26  # bytes that any member may unpack to: 64 MiB, since it is read into memory as a whole


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


def require_folder(root: str | Path) -> Path:
    """Return ``root`` as a path.

    Raises:
        FileNotFoundError: it does not exist or is empty.
        NotADirectoryError: it is a file.
    """
    folder = Path(root).expanduser()
    if not folder.exists():
        raise FileNotFoundError(
            f"`data.init_args.root={root}` does not exist; set it to the folder that holds the data set."
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"`data.init_args.root={root}` is a file; set it to the folder that holds it, archives are "
            "read in place."
        )
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"`data.init_args.root={root}` is an empty folder; put the data set there.")
    return folder


def fingerprint_of(files: Iterable[Path], root: Path) -> str:
    """Return a hash of the names below ``root``, sizes and dates of ``files``."""
    return digest_of((path.relative_to(root).as_posix(), path.stat()) for path in sorted(files))


def digest_of(files: Iterable[tuple[str, os.stat_result]]) -> str:
    """Return a hash of the names, sizes and dates of files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, status in files:
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


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
    if head.startswith(tuple(OPENERS)) or kind == "a tar archive" or (head and tarfile.is_tarfile(path)):
        return tar_entries(path)
    raise ArchiveError(
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
        raise ArchiveError(
            f"`{path}` cannot be read as a zip archive ({error}); download it again."
        ) from error
    named = [(_zip_name(info), info) for info in archive.infolist()]
    files = {info: safe_name(name, path) for name, info in named if not name.endswith("/")}
    require_distinct(files.values(), path)
    size = path.stat().st_size
    for info, name in files.items():
        if info.flag_bits & 0x1:
            raise ArchiveError(f"`{name}` in `{path}` is encrypted; unpack it with its password first.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArchiveError(f"`{name}` in `{path}` is a link; pack the file itself.")
        if not is_hidden(name):
            packed = min(info.compress_size, size)
            require_growth(info.file_size, packed, _ALLOWANCE, f"`{name}` in `{path}`")
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
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ArchiveError(
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
    file, places = open_tar(path)
    for name, (offset, size) in places.items():
        yield Entry(name, path, partial(_read_tar, file, offset, size, f"`{name}` in `{path}`"))


def _read_tar(file: IO[bytes], offset: int, size: int, what: str) -> bytes:
    pieces, left = [], size
    while left and (piece := os.pread(file.fileno(), left, offset)):  # at most 2 GiB a call
        pieces.append(piece)
        offset, left = offset + len(piece), left - len(piece)
    if left:
        raise ArchiveError(
            f"{what} has {size} bytes, {size - left} are left; the archive changed while it was read."
        )
    return b"".join(pieces)
