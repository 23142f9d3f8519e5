"""Images on their way to the disk: decoded by threads, summed up and hashed meanwhile."""

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from psst.images.source import ImageRecord, Source

_IMAGES = 32  # of a batch, at most: sums of so many 8-bit values fit 16 bits, of their squares 32 bits
_BYTES = 2**22  # of a batch, at most, so that large images do not pile up


@dataclass(frozen=True)
class _Batch:
    """Decoded images.

    Attributes:
        images: ``[b, C, H, W]`` uint8; zeros in place of a damaged image.
        damaged: what is wrong with each damaged image.
        moments: ``[3, C]`` int64: number, sum and sum of squares of the values of the train split.
        digests: of the pixels of each image; empty for an image of one color, which shows nothing.
    """

    images: npt.NDArray[np.uint8]
    damaged: list[str]
    moments: npt.NDArray[np.int64]
    digests: list[bytes]


@dataclass(frozen=True)
class _Written:
    """What is known of images once they are written.

    Attributes:
        mean: of the train split in [0, 1], by channel.
        std: the same for the standard deviation.
        digests: of the pixels of each image; empty for an image of one color.
    """

    mean: list[float]
    std: list[float]
    digests: list[bytes]


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
    digests: list[bytes] = []
    decoding = _decode_batches(source, records, size, workers, progress)
    with _onto_disk(path) as file, closing(decoding) as batches:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            file.write(batch.images.reshape(-1).data)
            moments += batch.moments
            damaged += batch.damaged
            digests += batch.digests
        if damaged:
            raise ValueError(f"{len(damaged)} of {shape[0]} images are damaged; the first: {damaged[0]}")
    pixels, total, squares = moments.astype(np.float64)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    return _Written((mean / 255).tolist(), (std / 255).tolist(), digests)


def write_array(path: Path, array: npt.NDArray[np.generic]) -> None:
    """Write a small array to an npy file, onto the disk."""
    with _onto_disk(path) as file:
        np.save(file, array)


@contextmanager
def _onto_disk(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file that is on the disk at the end of the block, so that its folder can be renamed.

    It is written to instead of a memory map, which on a full disk would kill the process.
    """
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _decode_batches(
    source: Source, records: Sequence[ImageRecord], size: int, workers: int, progress: bool
) -> Generator[_Batch, None, None]:
    """Yield all ``records`` in order; a bounded number of batches is decoded ahead."""
    length = max(1, min(_IMAGES, _BYTES // (size * size * source.channels)))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="psst-decode")
    ahead: deque[Future[_Batch]] = deque()
    try:
        with progress_bar(f"{source.name} at {size} x {size}", len(records), progress) as advance:
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
    shows = (images != images[:, :, :1, :1]).any(axis=(1, 2, 3))
    digests = [
        hashlib.sha256(image.data).digest()[:16] if has_shape else b""
        for image, has_shape in zip(images, shows, strict=True)
    ]
    return _Batch(images, damaged, moments, digests)


def _moments(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return number, sum and sum of squares per channel, ``[3, C]``: over the images first, in few bits."""
    total = images.sum(axis=0, dtype=np.uint16).sum(axis=(1, 2), dtype=np.int64)
    squares = np.square(images, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    number = np.full_like(total, images[:, 0].size)
    return np.stack([number, total, squares.sum(axis=(1, 2), dtype=np.int64)])


@contextmanager
def progress_bar(label: str, total: int, show: bool, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Give a function that adds to the number of images done, `done` of them before."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not show) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda n: bar.advance(task, n)
