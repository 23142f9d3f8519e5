"""Decode the records of a source in parallel, in order, in batches."""

import math
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from psst.images.source import ImageRecord, Source

_IMAGES = 32  # of a batch, at most: sums of so many 8-bit values fit 16 bits, of their squares 32 bits
_BYTES = 2**22  # of a batch, at most, so that large images do not pile up
_HASHED_ROWS = 28  # about so many; images that agree in them are compared in full


@dataclass(frozen=True)
class Batch:
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


def decode_batches(
    source: Source, records: Sequence[ImageRecord], size: int, workers: int, progress: bool
) -> Generator[Batch, None, None]:
    """Yield all ``records`` in order; a bounded number of batches is decoded ahead.

    Args:
        source: decodes a record.
        records: what to decode.
        size: side length of the images.
        workers: threads; Pillow and NumPy release the interpreter lock while they work.
        progress: show a bar with the time left on stderr.
    """
    length = max(1, min(_IMAGES, _BYTES // (size * size * source.channels)))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="psst-decode")
    ahead: deque[Future[Batch]] = deque()
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


def _next(ahead: deque[Future[Batch]], advance: Callable[[int], None]) -> Iterator[Batch]:
    batch = ahead.popleft().result()
    yield batch
    advance(len(batch.images))


def _decode(source: Source, records: Sequence[ImageRecord], size: int) -> Batch:
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
    return Batch(images, damaged, moments, hashes)


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
