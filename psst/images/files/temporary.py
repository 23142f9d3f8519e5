"""What has to be unpacked before it can be read in any order: in files that need no name and leave none."""

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from psst.files import explained

_CHUNK = 1 << 20  # bytes
_NPZ_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def unpacked(pieces: Iterable[bytes], what: str) -> IO[bytes]:
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


def open_npz(path: Path, key: str) -> npt.NDArray[Any]:
    """Map the array ``key`` of an npz archive, read-only.

    It is unpacked once, into a temporary file that lives as long as the array.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no npz archive, damaged, truncated, without ``key``, or an array of objects.
        OSError: no room for the temporary file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{key}.npy" not in archive.namelist():
                found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:8])
                raise ValueError(f"`{path}` holds {found or 'nothing'}; expected an array `{key}`.")
            with (
                archive.open(f"{key}.npy") as packed,
                unpacked(iter(partial(packed.read, _CHUNK), b""), f"`{path}`") as file,
            ):
                return _map(file, f"{path}: {key}")
    except _NPZ_DAMAGES as error:
        raise ValueError(
            f"`{path}` cannot be read as an npz archive ({error}); download it again."
        ) from error


def _map(file: IO[bytes], name: str) -> npt.NDArray[Any]:
    """Map an npy file; the mapping stays when the file is closed."""
    try:
        array: npt.NDArray[Any] = np.load(f"/dev/fd/{file.fileno()}", mmap_mode="r")
    except (ValueError, KeyError, SyntaxError) as error:
        raise ValueError(
            f"`{name}` is no whole array of numbers in NumPy's npy format ({error}); download it again."
        ) from error
    return array
