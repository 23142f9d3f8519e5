"""Arrays on disk: written to a temporary name and renamed, read without pickles."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.files import atomic_path

_VERSION = 1


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Save arrays as npz at exactly `path`; an interrupted write leaves what was there before.

    Raises:
        OSError: If the folder does not exist or the disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, version=np.int64(_VERSION), **arrays)


def read_arrays(path: str | Path, keys: tuple[str, ...], argument: str) -> dict[str, NDArray[Any]]:
    """Read back what `write_arrays` wrote.

    Args:
        path: An npz file.
        keys: The arrays it must hold.
        argument: What the user calls the path, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, lacks an array, or comes from a newer version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"`{argument}={path}` is no file; give the .npz that a search or a run has saved."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"`{argument}={path}` is not a readable .npz ({error}); save it anew.") from error
    missing = [key for key in ("version", *keys) if key not in arrays]
    if missing:
        raise ValueError(f"`{argument}={path}` must hold {list(keys)}, {missing} missing; save it anew.")
    if int(arrays["version"]) > _VERSION:
        raise ValueError(
            f"`{argument}={path}` has format version {int(arrays['version'])}, this PSST reads up "
            f"to {_VERSION}; update PSST or save it anew."
        )
    return arrays
