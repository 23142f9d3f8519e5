"""Images on their way to the disk: decoded by threads, summed up and hashed meanwhile."""

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from psst.images.files.waiting import bar
from psst.images.source import ImageRecord, Source

_IMAGES = 32  # of a batch, at most: sums of so many 8-bit values fit 16 bits, of their squares 32 bits
_BYTES = 2**22  # of a batch, at most, so that large images do not pile up


@dataclass(frozen=True)
class _Batch:
    """Decoded images and what is summed up of them."""

    images: npt.NDArray[np.uint8]  # [b, C, H, W], zeros in place of a damaged image
    damaged: list[str]  # what is wrong with each damaged image
    moments: npt.NDArray[np.int64]  # [3, C]: number, sum and sum of squares of values of the train split
    digests: list[bytes]  # of the pixels of each image


def write_images(
    source: Source, records: Sequence[ImageRecord], size: int, path: Path, workers: int, progress: bool
) -> tuple[list[float], list[float], list[bytes]]:
    """Write the images of ``records`` to an npy file, one array ``[n, C, size, size]``.

    Pillow and NumPy release the interpreter lock while they work, so that ``workers`` are threads.

    Returns:
        Mean and standard deviation of the train split in [0, 1], by channel; and a digest of the pixels of
        each image, empty for an image of one color, which shows nothing.

    Raises:
        OSError: there is no room.
        ValueError: images are damaged.
    """
    shape = (len(records), source.channels, size, size)
    moments = np.zeros((3, source.channels), np.int64)
    damaged: list[str] = []
    digests: list[bytes] = []
    decoding = _decode_batches(source, records, size, workers, progress)
    # a file rather than a memory map, which on a full disk would kill the process
    with path.open("wb") as file, closing(decoding) as batches:
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
    return (mean / 255).tolist(), (std / 255).tolist(), digests


def _decode_batches(
    source: Source, records: Sequence[ImageRecord], size: int, workers: int, progress: bool
) -> Generator[_Batch, None, None]:
    """Yield all ``records`` in order; a bounded number of batches is decoded ahead."""
    length = max(1, min(_IMAGES, _BYTES // (size * size * source.channels)))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="psst-decode")
    ahead, done = deque[Future[_Batch]](), 0
    try:
        with bar(f"{source.name} at {size} x {size}", progress) as show:
            for start in range(0, len(records), length):
                ahead.append(pool.submit(_decode, source, records[start : start + length], size))
                while ahead and (len(ahead) > 2 * workers or start + length >= len(records)):
                    batch = ahead.popleft().result()
                    yield batch
                    done += len(batch.images)
                    show(done, len(records))
    finally:
        pool.shutdown(cancel_futures=True)


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
