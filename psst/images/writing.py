"""Files of a store: hashed while they are written, and brought to the disk meanwhile."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from psst.images.batches import Batch
from psst.images.store import LABELS

_FLUSH = 2**24  # bytes after which the disk is given something to do


class HashedFile:
    """A new file that is hashed as it grows, and flushed to the disk by a thread of its own.

    At the end of the block all of it is on the disk, so that a folder can be renamed. A file written to
    instead of a memory map, which on a full disk would kill the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="psst-flush")
        self._flushing: Future[None] | None = None
        self._waiting = 0

    @property
    def sha256(self) -> str:
        """Hash of what was written so far, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Add ``data``; raises OSError if the disk is full, maybe on account of an earlier call."""
        self._file.write(data)
        self._digest.update(data)
        self._waiting += len(data)
        if self._waiting >= _FLUSH and (self._flushing is None or self._flushing.done()):
            self._settle()
            self._file.flush()
            self._flushing, self._waiting = self._disk.submit(os.fsync, self._file.fileno()), 0

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._settle()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._disk.shutdown()
            self._file.close()

    def _settle(self) -> None:
        """Wait for the disk, and raise what went wrong there."""
        if self._flushing is not None:
            self._flushing.result()


def write_file(path: Path, data: bytes) -> str:
    """Write ``data`` and return its SHA-256."""
    with HashedFile(path) as file:
        file.write(data)
    return file.sha256


def write_images(
    batches: Iterable[Batch], shape: tuple[int, ...], path: Path
) -> tuple[dict[str, list[float]], npt.NDArray[np.int64], str]:
    """Write the images as they come.

    Args:
        batches: what the images are made of.
        shape: ``(n, C, H, W)``.
        path: of the array.

    Returns:
        "mean" and "std" of the train split in [0, 1]; the hash of each image; the file's SHA-256.

    Raises:
        OSError: there is no room.
        ValueError: images are damaged.
    """
    moments = np.zeros((3, shape[1]), np.int64)
    damaged: list[str] = []
    hashes: list[npt.NDArray[np.int64]] = []
    with HashedFile(path) as file:
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(header.getvalue())
        for batch in batches:
            file.write(batch.images.reshape(-1).data)
            moments += batch.moments
            damaged += batch.damaged
            hashes.append(batch.hashes)
        if damaged:
            raise ValueError(f"{len(damaged)} of {shape[0]} images are damaged; the first: {damaged[0]}")
    pixels, total, squares = moments.astype(np.float64)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    statistics: dict[str, list[float]] = {"mean": (mean / 255).tolist(), "std": (std / 255).tolist()}
    return statistics, np.concatenate(hashes), file.sha256


def write_labels(labels: Sequence[int], folder: Path) -> str:
    """Write labels.npy into ``folder`` and return its SHA-256."""
    data = BytesIO()
    np.save(data, np.array(labels, dtype=np.int64))
    return write_file(folder / LABELS, data.getvalue())
