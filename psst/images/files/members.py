"""What a member of an archive may be called, and how large it may grow."""

import posixpath
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

RATIO = 200
"""Unpacked bytes a packed byte may stand for, above an allowance.

Archives of photographs reach 1.1, of arrays of pixels about 5 (MNIST), of file lists 20, of black-and-white
masks 100. Deflate ends at 1032, and bombs are made of such bytes or worse.
"""
ARCHIVE_ALLOWANCE = 1 << 30
"""Bytes that any archive may unpack to: 1 GiB does no harm on a machine that trains."""
MEMBER_ALLOWANCE = 1 << 26
"""Bytes that any member may unpack to: 64 MiB, since a member is read into memory as a whole."""


class ArchiveError(ValueError):
    """An archive is damaged, or no data set would hold what it holds; the message names it and the member."""


def printable(name: str) -> str:
    r"""Return ``name`` with bytes that are not UTF-8 written as ``\xe9``: it prints and goes into JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """Return if no data set means this: ``.ipynb_checkpoints/``, the Mac's ``__MACOSX/`` and ``._name``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def safe_name(name: str, archive: Path) -> str:
    """Return the path of a member, printable and without ``.`` parts.

    Raises:
        ArchiveError: it is empty or leads out of the folder, on this system or another.
    """
    shown = printable(name)
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise ArchiveError(
            f"`{archive}` holds `{shown}`, which leads out of the folder it is unpacked to; do not trust the "
            "archive, get it from its source again."
        )
    path = "/".join(part for part in shown.split("/") if part not in ("", "."))
    if not path:
        raise ArchiveError(f"`{archive}` holds a file without a name; get it from its source again.")
    return path


def require_unique(names: Iterable[str], archive: Path, cases: bool = True) -> None:
    """Check that no two members are one file.

    Args:
        names: paths of the members that are files or links, as `safe_name` gives them.
        archive: for the message.
        cases: upper and lower case are two names.

    Raises:
        ArchiveError: a name comes twice, or is also a folder of another member.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = name if cases else name.casefold()
        if key in seen:
            other = "" if seen[key] == name else f", the other time as `{seen[key]}`"
            raise ArchiveError(
                f"`{archive}` holds `{name}` twice{other}; which of them counts is unclear: pack it again "
                "with one of them."
            )
        seen[key] = name
    folders: set[str] = set()
    for key in seen:
        while (key := posixpath.dirname(key)) and key not in folders:
            folders.add(key)
    clash = next((seen[key] for key in folders if key in seen), None)
    if clash is not None:
        raise ArchiveError(f"`{archive}` holds `{clash}` as a file and as a folder; pack it again.")


def require_growth(unpacked: int, packed: int, allowance: int, what: str) -> None:
    """Check that ``packed`` bytes do not stand for more than a data set would need.

    Raises:
        ArchiveError: ``unpacked`` is above the allowance and above ``RATIO * packed``.
    """
    if unpacked > max(allowance, RATIO * packed):
        raise ArchiveError(
            f"{what} unpacks to more than {RATIO} times its {packed} bytes ({unpacked} or more), as "
            "decompression bombs do and images do not; get it from its source again, or unpack it by hand if "
            "you trust it."
        )


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive.

    Raises:
        ArchiveError: it is damaged, cut off, or no zip archive.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArchiveError(
            f"`{path}` cannot be read as a zip archive ({error}); download it again."
        ) from error


def zip_members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the files of a zip archive and their paths.

    Raises:
        ArchiveError: a member leads out, is encrypted, a link, or comes twice.
    """
    members = [(_zip_name(info), info) for info in archive.infolist()]
    files = [(safe_name(name, path), info) for name, info in members if not name.endswith("/")]
    require_unique((name for name, _ in files), path)
    for name, info in files:
        if info.flag_bits & 0x1:
            raise ArchiveError(f"`{name}` in `{path}` is encrypted; unpack it with its password first.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArchiveError(f"`{name}` in `{path}` is a link; pack the file itself.")
        if not is_hidden(name):
            yield name, info


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the path: UTF-8 is often not announced, and what is not UTF-8 is code page 437."""
    name = info.filename.replace("\\", "/")  # written by old tools for Windows
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name
