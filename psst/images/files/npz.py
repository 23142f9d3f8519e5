"""An array inside an npz archive, mapped into memory instead of read."""

import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.files.temporary import no_room_explained


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
            with archive.open(f"{key}.npy") as packed, tempfile.NamedTemporaryFile(prefix="psst-") as file:
                with no_room_explained(f"`{path}`"):
                    shutil.copyfileobj(packed, file)
                    file.flush()
                return _map(file.name, f"{path}: {key}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"`{path}` cannot be read as an npz archive ({error}); download it again."
        ) from error


def _map(file: str, name: str) -> npt.NDArray[Any]:
    """Map an npy file; the mapping stays when the file has lost its name."""
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r")
    except (ValueError, KeyError, SyntaxError) as error:
        raise ValueError(
            f"`{name}` is no whole array of numbers in NumPy's npy format ({error}); download it again."
        ) from error
    return array
