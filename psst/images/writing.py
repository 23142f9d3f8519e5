"""Images on their way to the disk: decoded by threads, summed up and hashed meanwhile."""

import hashlib
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from psst.images.source import ImageRecord, Source

_IMAGES = 32  # of a batch, at most: sums of so many 8-bit values fit 16 bits, of their squares 32 bits
_BYTES = 2**22  # of a batch, at most, so that large images do not pile up
_HASHED_ROWS = 28  # about so many; images that agree in them are compared in full


@dataclass(frozen=True)
class _Batch:
    """Decoded images.

    Attributes:
        images: ``[b, C, H, W]`` uint8; zeros in place of a damaged image.
        damaged: what is wrong with each damaged image.
        moments: ``[3, C]`` int64: number, sum and sum of squares of the values of the train split.
        hashes: ``[b]`` int64: equal images have equal hashes, within this process.
    """

    images: npt.NDArray[np.uint8]
    damaged: list[str]
    moments: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Written:
    """What is known of images once they are written.

    Attributes:
        mean: of the train split in [0, 1], by channel.
        std: the same for the standard deviation.
        hashes: ``[n]``, of each image; equal images have equal ones.
        sha256: of the file.
    """

    mean: list[float]
    std: list[float]
    hashes: npt.NDArray[np.int64]
    sha256: str


def write_images(
    source: Source, records: Sequence[ImageRecord], size: int, path: Path, workers: int, progress: bool
) -> _Written:
    """Write the images of ``records`` to ``path``, one array ``[n, C, size, size]``.

    Args:
        source: decodes a record.
        records: what to decode.
        size: side length of the images.
        path: of the npy file.
        workers: threads; Pillow and NumPy release the interpreter lock while they work.
        progress: show a bar with the time left on stderr.

    Raises:
        OSError: there is no room.
        ValueError: images are damaged.
    """
    shape = (len(records), source.channels, size, size)
    moments = np.zeros((3, source.channels), np.int64)
    damaged: list[str] = []
    hashes: list[npt.NDArray[np.int64]] = []
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    decoding = _decode_batches(source, records, size, workers, progress)
    with HashedFile(path) as file, closing(decoding) as batches:
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
    return _Written((mean / 255).tolist(), (std / 255).tolist(), np.concatenate(hashes), file.sha256)


def write_array(path: Path, array: npt.NDArray[np.generic]) -> str:
    """Write a small array to an npy file, onto the disk, and return the file's SHA-256."""
    data = BytesIO()
    np.save(data, array)
    with HashedFile(path) as file:
        file.write(data.getvalue())
    return file.sha256


class HashedFile:
    """A new file that is hashed as it grows.

    At the end of the block all of it is on the disk, so that a folder can be renamed. A file written to
    instead of a memory map, which on a full disk would kill the process.

    Example:
        >>> with HashedFile(Path("images.npy")) as file:  # doctest: +SKIP
        ...     file.write(b"...")
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hash of what was written so far, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Add ``data``; raises OSError if the disk is full."""
        self._file.write(data)
        self._digest.update(data)

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:  # closes it
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())


def _decode_batches(
    source: Source, records: Sequence[ImageRecord], size: int, workers: int, progress: bool
) -> Generator[_Batch, None, None]:
    """Yield all ``records`` in order; a bounded number of batches is decoded ahead."""
    length = max(1, min(_IMAGES, _BYTES // (size * size * source.channels)))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="psst-decode")
    ahead: deque[Future[_Batch]] = deque()
    try:
        with _progress_bar(f"{source.name} at {size} x {size}", len(records), progress) as advance:
            for start in range(0, len(records), length):
                ahead.append(pool.submit(_decode, source, records[start : start + length], size))
                if len(ahead) > 2 * workers:
                    yield from _next(ahead, advance)
            while ahead:
                yield from _next(ahead, advance)
    finally:
        pool.shutdown(cancel_futures=True)


def _next(ahead: deque[Future[_Batch]], advance: Callable[[int], None]) -> Iterator[_Batch]:
    batch = ahead.popleft().result()
    yield batch
    advance(len(batch.images))


def _decode(source: Source, records: Sequence[ImageRecord], size: int) -> _Batch:
    images = np.zeros((len(records), source.channels, size, size), np.uint8)
    damaged: list[str] = []
    for i, record in enumerate(records):
        try:
            images[i] = source.decode(record, size).transpose(2, 0, 1)
        except ValueError as error:
            damaged.append(str(error))
    train = np.array([record.split == "train" for record in records])
    moments = _moments(images if train.all() else images[train])
    step = max(1, size // _HASHED_ROWS)
    hashes = np.array([hash(image[:, ::step].tobytes()) for image in images], dtype=np.int64)
    return _Batch(images, damaged, moments, hashes)


def _moments(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return number, sum and sum of squares per channel, ``[3, C]``: over the images first, in few bits."""
    channels = images.shape[1]
    values = images.reshape(len(images), math.prod(images.shape[1:]))
    total = np.add.reduce(values, axis=0, dtype=np.uint16)
    squares = np.add.reduce(np.square(values, dtype=np.uint16), axis=0, dtype=np.uint32)
    rows = [part.reshape(channels, -1).sum(axis=1, dtype=np.int64) for part in (total, squares)]
    return np.array([[values.size // channels] * channels, *rows], dtype=np.int64)


@contextmanager
def _progress_bar(label: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that adds to the number of images done."""
    if not show:
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)
