"""An array inside an npz archive, mapped into memory instead of read."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from psst.images.files.temporary import unpacked

_CHUNK = 2**22  # bytes
_LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def open_npz(path: Path, key: str) -> npt.NDArray[Any]:
    """Map the array ``key`` of an npz archive, read-only.

    What numpy.savez wrote is used where it lies. What numpy.savez_compressed wrote is decompressed once, into
    an unnamed temporary file that lives as long as the array.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no npz archive, damaged, truncated, without ``key``, or an array of objects.
        OSError: no room for the temporary file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if f"{key}.npy" not in names:
                found = ", ".join(name.removesuffix(".npy") for name in names[:8])
                raise ValueError(f"`{path}` holds {found or 'nothing'}; expected an array `{key}`.")
            info = archive.getinfo(f"{key}.npy")
            if info.compress_type == zipfile.ZIP_STORED:
                with path.open("rb") as file:
                    return _map(file, _data_offset(file, info), info.file_size, f"{path}: {key}")
            with unpacked(_pieces(archive, info), f"`{path}`") as file:
                return _map(file, 0, info.file_size, f"{path}: {key}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"`{path}` cannot be read as an npz archive ({error}); download it again."
        ) from error


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(info) as packed:
        while piece := packed.read(_CHUNK):
            yield piece


def _data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where the data of a member begin: its own header may be longer than that of the directory."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"no header at byte {info.header_offset:,}")
    name, extra = (int.from_bytes(header[start : start + 2], "little") for start in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name + extra


def _map(file: IO[bytes], start: int, size: int, name: str) -> npt.NDArray[Any]:
    """Map the npy data of ``size`` bytes from ``start`` on."""
    file.seek(start)
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError, SyntaxError) as error:
        raise ValueError(f"`{name}` is not in NumPy's npy format ({error}); download it again.") from error
    if dtype.hasobject:
        raise ValueError(
            f"`{name}` is an array of Python objects, which psst does not load; save it as numbers."
        )
    held, needed = start + size - file.tell(), int(np.prod(shape, dtype=object)) * dtype.itemsize
    if held != needed or file.seek(0, 2) < start + size:
        raise ValueError(f"`{name}` has {held:,} bytes, its shape {shape} {needed:,}; download it again.")
    return np.memmap(file, dtype, "r", start + size - held, shape, "F" if fortran else "C")
