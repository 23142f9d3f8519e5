"""An array inside an npz archive, mapped into memory instead of read."""

import mmap
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_CHUNK = 2**22
_LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
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
                return _map(path.open("rb"), _data_offset(path, info), info.file_size, f"{path}: {key}")
            with archive.open(info) as packed:
                return _map(_decompressed(packed, info.file_size), 0, info.file_size, f"{path}: {key}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"`{path}` cannot be read as an npz archive ({error}); download it again."
        ) from error


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where the data of a member begin: its own header may be longer than that of the directory."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"no header at byte {info.header_offset:,}")
    name, extra = (int.from_bytes(header[start : start + 2], "little") for start in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name + extra


def _decompressed(packed: IO[bytes], size: int) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        while chunk := packed.read(_CHUNK):
            file.write(chunk)
        file.flush()
        file.seek(0)
    except OSError as error:
        file.close()
        raise OSError(
            error.errno,
            f"no room to decompress an array of {size / 2**20:,.0f} MiB into `{tempfile.gettempdir()}` "
            f"({error.strerror}); free some space, or set the environment variable TMPDIR to a folder on a "
            "larger disk.",
        ) from error
    except BaseException:
        file.close()
        raise
    return file


def _map(file: IO[bytes], start: int, size: int, name: str) -> npt.NDArray[Any]:
    """Map the npy data of ``size`` bytes from ``start`` on."""
    with file:
        file.seek(start)
        try:
            read_header = _HEADERS[np.lib.format.read_magic(file)]
            shape, fortran, dtype = read_header(file)
        except (ValueError, KeyError, SyntaxError) as error:
            raise ValueError(
                f"`{name}` is not in NumPy's npy format ({error}); download it again."
            ) from error
        if dtype.hasobject:
            raise ValueError(
                f"`{name}` is an array of Python objects, which psst does not load; save it as numbers."
            )
        offset = file.tell()
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if offset - start + needed != size:
            raise ValueError(
                f"`{name}` has {size:,} bytes, not the {offset - start + needed:,} of its shape {shape}; "
                "download it again."
            )
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(pages) < offset + needed:
        raise ValueError(
            f"`{name}` is truncated: the file ends after {len(pages):,} bytes; download it again."
        )
    flat = np.frombuffer(pages, dtype, count=needed // max(1, dtype.itemsize), offset=offset)
    return flat.reshape(shape, order="F" if fortran else "C")
