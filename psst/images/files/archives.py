"""Image files where they lie: folders, zip and tar archives read in place, nothing extracted."""

import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal

from psst.images.files.content import is_web_page
from psst.images.files.find import find_files
from psst.images.files.members import (
    MEMBER_ALLOWANCE,
    ArchiveError,
    open_zip,
    printable,
    require_growth,
    zip_members,
)
from psst.images.files.tars import is_compressed, open_tar, tar_index

_OTHERS = {
    b"7z\xbc\xaf'\x1c": " but in 7z format",
    b"rar!": " but in rar format",
    b"\x28\xb5\x2f\xfd": " but compressed by zstd",
}


@dataclass(frozen=True)
class Entry:
    r"""One file.

    Attributes:
        name: path inside its folder or archive, with forward slashes; bytes that are not UTF-8 as ``\xe9``.
        container: the folder or archive.
        read: returns the bytes; safe to call from several threads.
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


def folder_entries(folder: Path, suffixes: Sequence[str]) -> Iterator[Entry]:
    """Yield the files below ``folder`` whose names end in one of ``suffixes``, sorted by path.

    Links to folders are not followed: what they stand for is listed where it lies. Hidden files are left out,
    here and in archives: ``.name``, ``.ipynb_checkpoints/``, ``__MACOSX/``.

    Raises:
        ValueError: a link to a folder, or to a file with one of the suffixes, is broken or leaves ``folder``.
    """
    for name, found in find_files(folder, suffixes):
        yield Entry(printable(name), folder, Path(found.path).read_bytes)


def fingerprint(root: Path, suffixes: Sequence[str]) -> str:
    """Return a hash of names, sizes and dates of the files below ``root`` that end in ``suffixes``."""
    digest = hashlib.blake2b(digest_size=16)
    for name, found in find_files(root, suffixes):
        stat = found.stat()
        digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
    return digest.hexdigest()


def archive_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip or tar archive, told apart by their first bytes.

    Raises:
        ValueError: it is neither, or damaged.
        OSError: it cannot be read, or there is no room to decompress it.
    """
    return zip_entries(path) if archive_kind(path) == "zip" else tar_entries(path)


def archive_kind(path: Path) -> Literal["zip", "tar"]:
    """Return what an archive is by its first bytes, whatever its name.

    Raises:
        ValueError: it is neither a zip nor a tar archive.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[257:262] == b"ustar" or is_compressed(head) or (head and tarfile.is_tarfile(path)):
        return "tar"
    begins = next((what for magic, what in _OTHERS.items() if head.lstrip().lower().startswith(magic)), "")
    begins = " but a web page" if is_web_page(head) else begins
    raise ArchiveError(
        f"`{path}` is no zip and no tar archive (also gz, bz2, xz){begins}; download it again, or "
        "unpack it by hand."
    )


def zip_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip archive; it stays open as long as an entry is alive.

    Raises:
        ValueError: the archive is damaged or not a zip file, or a member is encrypted, a link, there twice,
            would unpack like a bomb, or leads out of the archive.
    """
    archive = open_zip(path)
    size = path.stat().st_size
    for name, info in zip_members(archive, path):
        packed = min(info.compress_size, size)
        require_growth(info.file_size, packed, MEMBER_ALLOWANCE, f"`{name}` in `{path}`")
        yield Entry(name, path, partial(_read_zip, archive, info, name))


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ArchiveError(
            f"`{name}` in `{archive.filename}` cannot be read ({error}); download the archive again."
        ) from error


def tar_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a tar archive, and the links to them.

    An archive compressed by gzip, bzip2 or xz is decompressed once, into a temporary file that lives as long
    as an entry does.

    Raises:
        ValueError: the archive is damaged or cut off, no tar file, would unpack like a bomb; or a member is
            a device or sparse, there twice, leads out, or is a link to something else than a member.
        OSError: there is no room for the temporary file.
    """
    with open_tar(path) as (archive, file):
        size = path.stat().st_size if file is None else os.fstat(file.fileno()).st_size
        index = tar_index(archive, path, size)
    read = partial(_read_path, path) if file is None else partial(_read_file, file)
    places = {name: (info.offset_data, info.size) for name, info in index.files.items()}
    for name in (*index.files, *index.links):
        place = places.get(index.links.get(name, name))
        if place is not None:  # else a link to a folder: its files are listed there
            yield Entry(name, path, partial(_read_tar, read, *place, f"`{name}` in `{path}`"))


def _read_tar(read: Callable[[int, int], bytes], offset: int, size: int, what: str) -> bytes:
    data = read(offset, size)
    if len(data) != size:
        raise ArchiveError(
            f"{what} has {size} bytes, {len(data)} are left; the archive changed while it was read."
        )
    return data


def _read_path(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _read_file(file: IO[bytes], offset: int, size: int) -> bytes:
    pieces = []
    while size and (piece := os.pread(file.fileno(), size, offset)):  # at most 2 GiB a call
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)
