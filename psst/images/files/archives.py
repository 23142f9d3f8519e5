"""Files in zip and tar archives, read in place: nothing is extracted, and no archive is trusted."""

import bz2
import errno
import gzip
import lzma
import os
import posixpath
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from psst.files import explained
from psst.images.files.paths import kind_of, printable

_OPENERS: dict[str, Callable[..., Any]] = {  # of a compressed tar
    "a gzip archive": gzip.open,
    "a bzip2 archive": bz2.open,
    "an xz archive": lzma.open,
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
_HIDDEN = re.compile(r"(?:^|/)(?:\.|__MACOSX(?:/|$))")  # no data set means .checkpoints/, __MACOSX/, ._name


class _ArchiveError(ValueError):
    """An archive is damaged, or holds what no data set would; the message names it and the member."""


@dataclass(frozen=True)
class Entry:
    """One file of a folder or of an archive."""

    name: str  # its path inside, with forward slashes; bytes that are not UTF-8 as \xe9
    container: Path
    read: Callable[[], bytes]  # safe to call from several threads

    def __str__(self) -> str:
        separator = "/" if self.container.is_dir() else ": "
        shown = printable(f"{self.container}{separator}{self.name}")
        return shown if shown.isprintable() else repr(shown)[1:-1]


def archive_entries(path: Path) -> Iterator[Entry]:
    """Yield the files in a zip or tar archive, told apart by their first bytes, whatever its name.

    It stays open as long as an entry is alive; a compressed tar is decompressed once, into a temporary file
    that lives as long. ValueError if it is neither, damaged or cut off, or would unpack like a bomb; or a
    member is encrypted, a link, a device or sparse, there twice, or leads out of the archive.
    """
    with path.open("rb") as file:
        head = file.read(512)
    kind = kind_of(head.lstrip()) or ""
    opener = _OPENERS.get(kind)
    if kind.startswith(("a zip", "an empty zip")):
        members = _zip_members(path)
    elif opener or kind == "a tar archive" or (head and tarfile.is_tarfile(path)):
        members = _tar_members(path, opener)
    else:
        raise _ArchiveError(
            f"`{path}` is no zip and no tar archive (also gz, bz2, xz){f' but {kind}' if kind else ''}; "
            "download it again, or unpack it by hand."
        )
    found: dict[str, Entry] = {}
    for name, read in members:
        entry = Entry(_safe_name(name, path), path, read)
        if found.setdefault(entry.name, entry) is not entry:
            way_out = "which of them counts is unclear: pack it again with one of them"
            raise _ArchiveError(f"`{path}` holds `{entry.name}` twice; {way_out}.")
    # the folders of each folder that has files, itself among them
    paths = (PurePosixPath(folder, "_") for folder in set(map(posixpath.dirname, found)))
    if clash := found.keys() & {str(above) for each in paths for above in each.parents}:
        raise _ArchiveError(f"`{path}` holds `{min(clash)}` as a file and as a folder; pack it again.")
    return iter([entry for entry in found.values() if not _HIDDEN.search(entry.name)])


def open_npz(path: Path, key: str) -> npt.NDArray[Any]:
    """Map the array ``key`` of an npz archive, read-only, out of a temporary file that lives as long."""
    with _readable(f"`{path}` cannot be read as an npz archive"), zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:8])
            raise _ArchiveError(f"`{path}` holds {found or 'nothing'}; expected an array `{key}`.")
        with archive.open(f"{key}.npy") as packed:
            file = _unpacked(iter(partial(packed.read, _CHUNK), b""), f"`{path}`")
    with file, _readable(f"`{path}: {key}` is no whole array of numbers in NumPy's npy format"):
        array: npt.NDArray[Any] = np.load(f"/dev/fd/{file.fileno()}", mmap_mode="r")  # outlives the file
    return array


@contextmanager
def _readable(law: str) -> Iterator[None]:
    """Say that an archive is damaged, whatever the libraries meet in it."""
    try:
        yield
    except Exception as error:  # the libraries raise whatever their parsing meets in damaged bytes
        # what the system says of a disk or of rights is no damage, but for a seek to nowhere
        system = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if system or isinstance(error, _ArchiveError):
            raise
        raise _ArchiveError(f"{law} ({error}); download it again.") from error


def _unpacked(pieces: Iterable[bytes], what: str) -> IO[bytes]:
    """Write ``pieces``, of the file ``what``, to a temporary one that lives as long as the result."""
    file = tempfile.TemporaryFile(prefix="psst-")  # noqa: SIM115 - the caller keeps it open
    try:
        with explained(
            f"{what} cannot be unpacked into `{tempfile.gettempdir()}`",
            "free some space there, or set the environment variable TMPDIR to a folder on a larger disk.",
        ):
            for piece in pieces:
                file.write(piece)
            file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _zip_members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the path of each file, as written there, and how to read it."""
    with _readable(f"`{path}` cannot be read as a zip archive"):
        archive = zipfile.ZipFile(path)
    size = path.stat().st_size
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # written by old tools for Windows
        if not info.flag_bits & 0x800:  # UTF-8 that is not announced, as often; else code page 437
            with suppress(UnicodeError):
                name = name.encode("cp437").decode("utf-8")
        what = f"`{printable(name)}` in `{path}`"
        if name.endswith("/"):
            continue
        if info.flag_bits & 0x1:
            raise _ArchiveError(f"{what} is encrypted; unpack it with its password first.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _ArchiveError(f"{what} is a link; pack the file itself.")
        _require_growth(info.file_size, min(info.compress_size, size), _ZIP_ALLOWANCE, what)
        yield name, partial(_read_zip, archive, info, what)


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> bytes:
    with _readable(f"{what} cannot be read"):
        return archive.read(info)


def _tar_members(path: Path, opener: Callable[..., Any] | None) -> Iterator[tuple[str, Callable[[], bytes]]]:
    readable = _readable(f"`{path}` cannot be read as a tar archive")
    with ExitStack() as opened, readable:
        file = opened.enter_context(
            _unpacked(_decompressed(path, opener), f"`{path}`") if opener else path.open("rb")
        )
        size, end = os.fstat(file.fileno()).st_size, 0
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                held = info.size if info.isreg() and not info.issparse() else 0
                what = f"`{printable(info.name)}` in `{path}`"
                if info.size < 0 or info.offset_data <= info.offset:
                    raise tarfile.ReadError("a header has a negative size")
                if info.offset_data + held > size:
                    raise tarfile.ReadError(f"it ends inside {printable(info.name)}")
                end = info.offset_data + -(-held // _BLOCK) * _BLOCK  # where the next header begins
                if info.isdir():
                    if posixpath.normpath(info.name) != ".":
                        _safe_name(info.name, path)
                    continue
                if info.issym() or info.islnk():
                    raise _ArchiveError(f"{what} is a link; pack the file itself (`tar --dereference`).")
                if not info.isreg() or info.issparse():
                    kind = "a sparse file" if info.isreg() else "a device, a pipe or of an unknown kind"
                    raise _ArchiveError(f"{what} is {kind}; pack the archive again without it.")
                yield info.name, partial(_read_tar, file, info.offset_data, info.size, what)
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):  # a cut between two members shows only here
            raise tarfile.ReadError(f"it ends after {size} bytes without the mark of its end")
        opened.pop_all()  # the entries keep it open


def _decompressed(path: Path, opener: Callable[..., Any]) -> Iterator[bytes]:
    size, packed = 0, path.stat().st_size
    with _readable(f"`{path}` cannot be read as a tar archive"), opener(path, "rb") as stream:
        while piece := stream.read(_CHUNK):
            size += len(piece)
            _require_growth(size, packed, _TAR_ALLOWANCE, f"`{path}`")
            yield piece


def _read_tar(file: IO[bytes], offset: int, size: int, what: str) -> bytes:
    data = os.pread(file.fileno(), size, offset)  # at most 2 GiB, more than an image has
    if len(data) < size:
        law = "the archive changed while it was read"
        raise _ArchiveError(f"{what} has {size} bytes, {len(data)} are left; {law}.")
    return data


def _safe_name(name: str, archive: Path) -> str:
    """Return the path of a member, printable and without ``.`` parts; it may not lead out, on any system."""
    shown = printable(name)
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name) or "\0" in name:
        law = "leads out of the folder it is unpacked to; do not trust it, get it from its source again"
        raise _ArchiveError(f"`{archive}` holds `{shown}`, which {law}.")
    path = "/".join(part for part in shown.split("/") if part not in ("", "."))
    if not path:
        raise _ArchiveError(f"`{archive}` holds a file without a name; get it from its source again.")
    return path


def _require_growth(unpacked: int, packed: int, allowance: int, what: str) -> None:
    """Refuse ``packed`` bytes that stand for more than a data set would need."""
    if unpacked > max(allowance, _RATIO * packed):
        raise _ArchiveError(
            f"{what} unpacks to more than {_RATIO} times its {packed} bytes ({unpacked} or more), as "
            "decompression bombs do and images do not; get it from its source again, or unpack it by hand if "
            "you trust it."
        )
