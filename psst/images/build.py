"""Turn a source into a store, once: parallel, locked, and never half-finished under its final name."""

import errno
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from psst.images.batches import Batch, decode_batches
from psst.images.source import SPLITS, ImageRecord, Source
from psst.images.store import FORMAT_VERSION, IMAGES, LABELS, META, ImageStore, file_sha256

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store_folder(source: Source, size: int, cache: str | Path) -> Path:
    """Return the folder of a store: its name hashes the format, the size and the source's key."""
    options = {"format": FORMAT_VERSION, "source": source.name, "size": size, "key": dict(source.key(size))}
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=6).hexdigest()
    return Path(cache) / f"{source.name}-{size}-{digest}"


def build_store(
    source: Source, size: int, cache: str | Path, workers: int | None = None, progress: bool | None = None
) -> ImageStore:
    """Return the store of ``source`` at ``size`` below ``cache``; build it if it is not there.

    The store is written to a folder that ends in ``.partial`` and renamed when complete. Concurrent calls
    wait for the first; what a killed build left is removed by the next.

    Args:
        source: the data set.
        size: side length of the stored images, in pixels.
        cache: folder of all stores; made if missing.
        workers: decoding threads; None for one a core.
        progress: show a bar with the time left on stderr; None if stderr is a terminal.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: ``size`` is below 1, the layout is wrong, or images are damaged.
        OSError: the store cannot be written, for example because the disk is full.
    """
    if size < 1:
        raise ValueError(
            f"`size={size}` must be at least 1; set `data.init_args.size` to a side length in pixels."
        )
    folder = store_folder(source, size, cache)
    if (folder / META).is_file():
        return ImageStore.open(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if not (folder / META).is_file():
            show = sys.stderr.isatty() if progress is None else progress
            _build(source, size, folder, workers or os.cpu_count() or 1, show)
    return ImageStore.open(folder)


def _build(source: Source, size: int, folder: Path, workers: int, progress: bool) -> None:
    records = source.scan()
    layout = _layout(records, source.name)
    partial = folder.with_name(folder.name + ".partial")
    for leftover in (partial, folder):  # only reached under the lock and without meta.json: nobody uses them
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir()
    shape = (len(records), size, size, source.channels)
    try:
        decoding = decode_batches(source, records, size, workers, progress)
        with _explained(folder.parent, math.prod(shape)), closing(decoding) as batches:
            meta = {
                "format": FORMAT_VERSION,
                "source": source.name,
                "options": dict(source.key(size)),
                "size": size,
                "channels": source.channels,
                "count": len(records),
                **layout,
                **_write_images(batches, shape, partial / IMAGES),
            }
            _write_labels(records, layout["class_names"], partial / LABELS)
            meta["sha256"] = {name: file_sha256(partial / name) for name in (IMAGES, LABELS)}
            _write_synced(partial / META, json.dumps(meta, indent=1, ensure_ascii=False).encode())
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _layout(records: Sequence[ImageRecord], name: str) -> dict[str, Any]:
    """Number the classes in order of appearance and list the ids of each split and group."""
    places: dict[str, tuple[str, str | None]] = {}
    for record in records:
        place = places.setdefault(record.class_name, (record.split, record.group))
        if place != (record.split, record.group):
            raise ValueError(
                f"class `{record.class_name}` of {name} is in split '{place[0]}' and in split "
                f"'{record.split}'; a class belongs to one split: take it out of the other."
            )
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    groups: dict[str, dict[str, list[int]]] = {}
    for class_id, (split, group) in enumerate(places.values()):
        splits[split].append(class_id)
        if group is not None:
            groups.setdefault(split, {}).setdefault(group, []).append(class_id)
    if not splits["train"]:
        raise ValueError(f"{name} has no training images; {len(places)} classes in other splits were found.")
    return {"class_names": list(places), "splits": splits, "groups": groups}


def _write_images(batches: Iterable[Batch], shape: tuple[int, ...], path: Path) -> dict[str, list[float]]:
    """Write the images and return mean and std of the train split.

    Written as a stream: filling a memory map on a full disk kills the process instead of raising.
    """
    moments, damaged = np.zeros((3, shape[-1])), []
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            file.write(batch.images.data)
            moments += batch.moments
            damaged += batch.damaged
        _sync(file)
    if damaged:
        raise ValueError(f"{len(damaged)} of {shape[0]} images are damaged; the first: {damaged[0]}")
    pixels, total, squares = moments
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    return {"mean": (mean / 255).tolist(), "std": (std / 255).tolist()}


def _write_labels(records: Sequence[ImageRecord], class_names: Sequence[str], path: Path) -> None:
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    with path.open("wb") as file:
        np.save(file, np.array([ids[record.class_name] for record in records], dtype=np.int64))
        _sync(file)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        _sync(file)


def _sync(file: BinaryIO) -> None:
    """Have the data on the disk before the folder gets its final name."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _explained(cache: Path, needed: int) -> Iterator[None]:
    """Say what a full disk means for the caller."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(
            error.errno,
            f"no room for the store in `{cache}`: it needs {needed / 2**20:.1f} MiB "
            f"({error.strerror}); free some space, or set "
            "`data.init_args.cache_dir` to a folder on a larger disk. Nothing was kept.",
        ) from error
