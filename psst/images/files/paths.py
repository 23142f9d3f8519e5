"""The user's folder, the names and kinds of files in it, and what tells them from those of another day."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|\?xml)", re.I | re.S)
_KINDS = {
    b"PK\x03\x04": "a zip archive (or NumPy's npz)",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
    b"7z\xbc\xaf'\x1c": "an archive in 7z format",
    b"Rar!": "an archive in rar format",
    b"\x93NUMPY": "an array in NumPy's npy format",
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickle",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file",
    b"{": "JSON",
}


def require_folder(root: str | Path) -> Path:
    """Return ``root`` as a path; an OSError unless it is a folder with something in it."""
    folder, given = Path(root).expanduser(), f"`data.init_args.root={root}`"
    if not str(root) or not folder.exists():
        raise FileNotFoundError(f"{given} does not exist; set it to the folder that holds the data set.")
    if not folder.is_dir():
        way_out = "set it to the folder that holds it, archives are read in place"
        raise NotADirectoryError(f"{given} is a file; {way_out}.")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"{given} is an empty folder; put the data set there.")
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


def kind_of(head: bytes) -> str | None:
    """Return in words what a file is that begins with ``head``, None if its first bytes do not tell."""
    if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):  # as failed downloads leave it
        return "a web page (a download that went wrong leaves one)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
