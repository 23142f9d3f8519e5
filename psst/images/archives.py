"""Image files where they lie: folders, zip and tar archives read in place, nothing extracted."""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        name: path inside its folder or archive, with forward slashes.
        container: the folder or archive.
        read: returns the bytes; safe to call from several threads.
    """

    name: str
    container: Path
    read: Callable[[], bytes]

    def __str__(self) -> str:
        separator = "/" if self.container.is_dir() else ": "
        return f"{self.container}{separator}{self.name}"


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
    """Yield the files below ``folder`` whose names end in one of ``suffixes``, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            yield Entry(path.relative_to(folder).as_posix(), folder, path.read_bytes)


def zip_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip archive; it stays open as long as an entry is alive.

    Raises:
        ValueError: the archive is damaged or not a zip file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"`{path}` cannot be read as a zip archive ({error}); download it again.") from error
    for info in archive.infolist():
        if not info.is_dir():
            yield Entry(info.filename, path, partial(_read_zip, archive, info))


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{info.filename}` in `{archive.filename}` cannot be read ({error}); download the archive again."
        ) from error


def tar_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in an uncompressed tar archive.

    Raises:
        ValueError: the archive is damaged, truncated, compressed or not a tar file.
    """
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if not info.isfile():
                    continue
                if info.offset_data + info.size > size:
                    raise tarfile.ReadError(f"it ends inside {info.name}")
                yield Entry(info.name, path, partial(_read_span, path, info.offset_data, info.size))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"`{path}` cannot be read as an uncompressed tar archive ({error}); decompress it or download "
            "it again."
        ) from error


def _read_span(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def fingerprint(root: Path, suffixes: Sequence[str]) -> str:
    """Return a hash of names, sizes and dates of the files below ``root`` that end in ``suffixes``."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            stat = path.stat()
            name = path.relative_to(root).as_posix()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
