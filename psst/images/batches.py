"""Decode the records of a source in parallel, in order, in batches."""

import sys
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from psst.images.source import ImageRecord, Source

_BATCH = 32


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    Attributes:
        images: ``[b, H, W, C]`` uint8; zeros in place of a damaged image.
        damaged: what is wrong with each damaged image.
        moments: ``[3, C]``: number, sum and sum of squares of the values of the train split, exact.
    """

    images: npt.NDArray[np.uint8]
    damaged: list[str]
    moments: npt.NDArray[np.float64]


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
    batches = [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]
    shown = _with_progress(batches, f"{source.name} at {size} x {size}") if progress else batches
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[Batch]] = deque()
    try:
        for batch in shown:
            ahead.append(pool.submit(_decode, source, batch, size))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(source: Source, records: Sequence[ImageRecord], size: int) -> Batch:
    images = np.zeros((len(records), size, size, source.channels), np.uint8)
    damaged: list[str] = []
    for i, record in enumerate(records):
        try:
            images[i] = source.decode(record, size)
        except ValueError as error:
            damaged.append(str(error))
    train = images[[record.split == "train" for record in records]]
    moments = np.zeros((3, source.channels))
    for image in train:
        values = image.reshape(-1, source.channels).T.astype(np.float64, order="C")  # exact up to 2**53
        moments[0] += values.shape[1]
        moments[1] += values.sum(axis=1)
        moments[2] += np.einsum("cn,cn->c", values, values)
    return Batch(images, damaged, moments)


def _with_progress(batches: Sequence[Sequence[ImageRecord]], label: str) -> Iterable[Sequence[ImageRecord]]:
    from rich.console import Console
    from rich.progress import track

    return track(batches, description=label, console=Console(file=sys.stderr))
