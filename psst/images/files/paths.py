"""The user's folder, the names in it, and what tells its files from those of another day."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


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


def fingerprint(files: Iterable[tuple[str, os.stat_result]]) -> str:
    """Return a hash of the names, sizes and dates of files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, status in files:
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def printable(name: str) -> str:
    r"""Return ``name`` with bytes that are not UTF-8 written as ``\xe9``: it prints and goes into JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
