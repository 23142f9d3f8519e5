"""Turn a source into a store, once: parallel, locked, and never half-finished under its final name."""

import errno
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.components import describe
from psst.files import explained, write_json
from psst.images.classes import arrange, find_duplicates
from psst.images.source import ImageRecord, Source
from psst.images.store import ImageStore
from psst.waiting import alone, bar

_PARTIAL = ".partial"  # ends the name of a folder that is not finished
_IMAGES, _BYTES = 32, 2**22  # of a batch, at most, so that large images do not pile up

_Check = Callable[[Any, Any], None] | None
_known: dict[str, str] | None = None  # description of a source, size and cache -> folder; None outside a run


@contextmanager
def trust(known: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Look at the files of a data set once during the block, instead of whenever its store is opened.

    Outside of such a block every `build_store` looks anew, so that files that have changed are noticed when
    the next run begins. Blocks inside a block are part of it. A source counts as the same if its class, its
    arguments, the size and the cache are; one whose arguments are more than plain values is looked at every
    time. What the block yields grows during it, is plain text, and is `known` to a worker process that is
    given it: that looks at no file.

    Example:
        >>> with trust() as known:  # a search
        ...     with trust(known):  # a worker of it
        ...         pass
    """
    global _known
    outer = _known
    _known = {} if outer is None else outer
    _known.update(known or {})
    try:
        yield _known
    finally:
        _known = outer


def build_store(
    source: Source, size: int, cache: str | Path, workers: int | None = None, check: _Check = None
) -> ImageStore:
    """Return the store of ``source`` at ``size`` below ``cache``; build it if it is not there.

    The store is written to a folder that ends in ``.partial`` and renamed when complete. Concurrent calls
    wait for the first; what a killed build left is removed by the next of this store. Equal images that lie
    in two splits or classes are warned of, and listed in meta.json. A group of images is kept in one split.

    Args:
        source: the data set.
        size: side length of the stored images, in pixels.
        cache: folder of all stores; made if missing. One that holds the store need not be writable.
        workers: decoding threads; None for one a core.
        check: raises, before any image is decoded, if it dislikes the class of each and what `arrange` says.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: the layout is wrong, images are damaged, or the store is of another format.
        OSError: the store cannot be written, for example because the disk is full.
    """
    known = {} if _known is None else _known
    description = "" if _known is None else _described(source, size, cache)
    if description in known and (Path(known[description]) / ImageStore.meta_file).is_file():
        return ImageStore(known[description])
    key = dict(source.key(size))
    folder = _folder(source.name, size, key, Path(cache))
    with unfinished(folder / ImageStore.meta_file) as is_missing:
        if is_missing:
            _build(source, size, key, folder, workers or cores(), check)
    if description:
        known[description] = str(folder.resolve())
    return ImageStore(folder)


@contextmanager
def unfinished(meta: Path) -> Iterator[bool]:
    """Say whether the folder of ``meta``, its last file, is still to be built, and hold its lock if it is."""
    folder = meta.parent
    law = f"no store can be made in `data.init_args.cache_dir={folder.parent}`"
    with ExitStack() as held:
        with explained(law, "set `data.init_args.cache_dir` to a folder that you may write"):
            if not meta.is_file():
                folder.parent.mkdir(parents=True, exist_ok=True)
                lock = folder.with_name(f"{folder.name}.lock")
                held.enter_context(alone(lock, f"`{folder}` is being prepared"))
        yield not meta.is_file()  # who waited finds what the other one has finished


def _folder(name: str, size: int, key: Mapping[str, Any], cache: Path) -> Path:
    options = {"format": ImageStore.format_version, "source": name, "size": size, "key": dict(key)}
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=6).hexdigest()
    return cache / f"{name}-{size}-{digest}"


def _described(source: Source, size: int, cache: str | Path) -> str:
    """Return what tells a source from others; "" for one that holds more than plain arguments."""
    try:
        return json.dumps([describe(source), size, str(Path(cache).resolve())], sort_keys=True)
    except (TypeError, ValueError):
        return ""


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(source: Source, size: int, key: dict[str, Any], folder: Path, workers: int, check: _Check) -> None:
    records, layout, labels = arrange(source.scan(), source.name)
    if check is not None:
        check(labels[0], layout)
    partial = folder.with_name(folder.name + _PARTIAL)
    for leftover in (partial, folder):  # only reached under the lock and without meta.json: nobody uses them
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        needed = len(records) * source.channels * size**2 / 2**20
        with explained(
            f"no room for the store in `{folder.parent}`: it needs {needed:.1f} MiB at "
            f"`data.init_args.size={size}`",
            "free some space, or set `data.init_args.cache_dir` to a folder on a larger disk. Nothing was "
            "kept.",
            only_full=True,
        ):
            if needed * 2**20 > shutil.disk_usage(partial).free:  # before anything is decoded
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            images = partial / ImageStore.images_file
            mean, std, digests = _write_images(source, records, size, images, workers)
            meta_path = folder / ImageStore.meta_file
            meta = {"source": source.name, "options": key, "size": size, "channels": source.channels}
            meta |= {"count": len(records), **layout, "mean": mean, "std": std}
            meta["duplicates"] = find_duplicates(records, digests, source.name, size, meta_path)
            np.save(partial / ImageStore.labels_file, labels)
            meta["sha256"] = ImageStore.checksums(partial, meta)
            write_json(partial / ImageStore.meta_file, meta, ImageStore.format_version)
            for path in partial.iterdir():  # all on the disk before the folder gets its name
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_images(
    source: Source, records: Sequence[ImageRecord], size: int, path: Path, workers: int
) -> tuple[list[float], list[float], list[bytes]]:
    """Write the images to an npy file; return mean and std of the train split, and a digest of each image."""
    shape = (len(records), source.channels, size, size)
    counts = np.zeros((source.channels, 256), np.int64)
    damaged: list[str] = []
    digests: list[bytes] = []
    length = max(1, min(_IMAGES, _BYTES // (size * size * source.channels)))
    pool = ThreadPoolExecutor(workers)  # threads, for Pillow releases the interpreter lock
    parts = (records[start : start + length] for start in range(0, len(records), length))
    coming = (pool.submit(_decode, source, part, size) for part in parts)
    try:
        # a file rather than a memory map, which on a full disk would kill the process
        with path.open("wb") as file, bar(f"{source.name} at {size} x {size}") as show:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            ahead = deque(islice(coming, 2 * workers))
            while ahead:
                images, errors, seen, hashes = ahead.popleft().result()
                ahead.extend(islice(coming, 1))
                file.write(images.reshape(-1).data)
                counts += seen
                damaged += errors
                digests += hashes
                show(len(digests), len(records))
    finally:
        pool.shutdown(cancel_futures=True)
    if damaged:
        raise ValueError(f"{len(damaged)} of {shape[0]} images are damaged; the first: {damaged[0]}")
    share, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), std.tolist(), digests


def _decode(
    source: Source, records: Sequence[ImageRecord], size: int
) -> tuple[npt.NDArray[np.uint8], list[str], npt.NDArray[np.int64], list[bytes]]:
    """Return images ``[b, C, H, W]``, what is wrong with each damaged one, counts of values, and digests.

    Counts, ``[C, 256]``, are of the train split. An image of one color shows nothing; its digest is empty.
    """
    images = np.zeros((len(records), source.channels, size, size), np.uint8)
    damaged: list[str] = []
    for i, record in enumerate(records):
        try:
            images[i] = source.decode(record, size).transpose(2, 0, 1)
        except ValueError as error:
            damaged.append(str(error))
    train = np.array([record.split == "train" for record in records])
    counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in images[train].swapaxes(0, 1)])
    shows = (images != images[:, :, :1, :1]).any(axis=(1, 2, 3))
    digests = [
        hashlib.sha256(image.data).digest()[:16] if has_shape else b""
        for image, has_shape in zip(images, shows, strict=True)
    ]
    return images, damaged, counts, digests
