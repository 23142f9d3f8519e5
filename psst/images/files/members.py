"""What a member of an archive may be called, and how large it may grow."""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

# Unpacked bytes a packed byte may stand for, above an allowance. Archives of photographs reach 1.1, of arrays
# of pixels about 5 (MNIST), of file lists 20, of black-and-white masks 100. Deflate ends at 1032, and bombs
# are made of such bytes or worse.
_RATIO = 200


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


def require_distinct(names: Iterable[str], archive: Path) -> None:
    """Raise ArchiveError if a path, as `safe_name` gives it, comes twice or is a folder of another."""
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        if name in seen:
            raise ArchiveError(
                f"`{archive}` holds `{name}` twice; which of them counts is unclear: pack it again with one "
                "of them."
            )
        seen.add(name)
        while (name := posixpath.dirname(name)) and name not in folders:
            folders.add(name)
    if clash := folders & seen:
        raise ArchiveError(f"`{archive}` holds `{min(clash)}` as a file and as a folder; pack it again.")


def require_growth(unpacked: int, packed: int, allowance: int, what: str) -> None:
    """Check that ``packed`` bytes do not stand for more than a data set would need.

    Raises:
        ArchiveError: ``unpacked`` is above the allowance and above 200 times ``packed``.
    """
    if unpacked > max(allowance, _RATIO * packed):
        raise ArchiveError(
            f"{what} unpacks to more than {_RATIO} times its {packed} bytes ({unpacked} or more), as "
            "decompression bombs do and images do not; get it from its source again, or unpack it by hand if "
            "you trust it."
        )
