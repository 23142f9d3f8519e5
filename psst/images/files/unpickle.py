"""Pickles of arrays: read without running what is in them, and without copying what is large."""

import mmap
import pickle
import struct
from pathlib import Path
from typing import Any

from psst.images.files.array_builders import RefusedError
from psst.images.files.pickled_arrays import LARGE, ByteStream, DataUnpickler

__all__ = ["LARGE", "load"]

_DAMAGES = (
    pickle.UnpicklingError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    struct.error,
)
_OTHER_FILES = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"PK\x03\x04", "a zip archive (npz files are such)"),
    (b"\x93NUMPY", "an array in NumPy's npy format"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file"),
    (b"{", "JSON"),
)


def load(source: Path | bytes, what: str = "") -> Any:
    """Build what a pickle holds, if that is NumPy arrays and scalars, plain values and plain containers.

    Nothing in the file is called or imported: a pickle that asks for anything else is refused. A file is
    mapped into memory and its arrays are read-only views of it: pages are read when they are looked at, and
    the system may drop them again. Only arrays that Python 3 wrote in protocol 2 or below need a copy: they
    are stored as text, and from 1 MiB on they are decoded into an unnamed temporary file.

    Text of Python 2 is taken for Latin-1. Its strings, and bytes, of `LARGE` bytes or more come as a
    memoryview; so does text of 1 MiB or more, in UTF-8.

    Args:
        source: the file, or its bytes.
        what: how messages name it; by default, the path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no pickle, damaged, truncated, or asks for what is not data.
        OSError: no room for the temporary file.
    """
    name = what or (str(source) if isinstance(source, Path) else "a pickle")
    data = _map(source) if isinstance(source, Path) else bytes(source)
    head = data[:512]
    _require_pickle(head, name)
    stream = ByteStream(data)
    try:
        return DataUnpickler(stream).load()
    except RefusedError as error:
        raise ValueError(
            f"`{name}` asks for {error}: psst takes NumPy arrays and plain containers from a pickle and runs "
            "nothing that is in it. Get the file from the authors of the data set, or save its arrays with "
            "numpy.savez."
        ) from None
    except EOFError as error:
        raise ValueError(f"`{name}` is truncated: {error}{_quoted(head)}; download it again.") from None
    except _DAMAGES as error:
        raise ValueError(
            f"`{name}` is damaged or not a pickle, at byte {stream.position:,} of {len(data):,} "
            f"({type(error).__name__}: {error}){_quoted(head)}; download it again."
        ) from error


def _map(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _require_pickle(head: bytes, name: str) -> None:
    """Recognize by its first bytes what is often found under the name of a pickle."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise ValueError(f"`{name}` is empty; download it again.")
    if start.startswith(b"<"):
        raise ValueError(
            f"`{name}` is a web page, not a pickle: it begins with {start[:40]!r}. Servers send a page in "
            "place of a file when it is gone, over its quota or needs a confirmation; download it in a "
            "browser or from another mirror."
        )
    for magic, kind in _OTHER_FILES:
        if start.startswith(magic):
            raise ValueError(
                f"`{name}` is {kind}, not a pickle; unpack it, give it the name it had, or download it again."
            )


def _quoted(head: bytes) -> str:
    """Quote the beginning of a file that turned out to be text."""
    text = head[:60].decode("ascii", errors="replace").split("\n")[0]
    return f"; it is text that begins with {text!r}" if text.isprintable() and " " in text else ""
