"""Turn a source into a store, once: parallel, locked, and never half-finished under its final name."""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from psst.images.batches import decode_batches
from psst.images.classes import class_labels, class_layout
from psst.images.duplicates import find_duplicates, warn_of_duplicates
from psst.images.faults import full_disk_explained, writable
from psst.images.lock import building_alone, partial_folder, remove_abandoned
from psst.images.source import Source
from psst.images.store import FORMAT_VERSION, IMAGES, LABELS, META, ImageStore
from psst.images.writing import write_file, write_images, write_labels

_KEY_VERSION = 1  # part of every folder's name: with another one, all stores are built again


def store_folder(source: Source, size: int, cache: str | Path) -> Path:
    """Return the folder of a store: its name hashes the size and the source's key."""
    return _folder(source.name, size, source.key(size), Path(cache))


def _folder(name: str, size: int, key: Mapping[str, Any], cache: Path) -> Path:
    options = {"format": _KEY_VERSION, "source": name, "size": size, "key": dict(key)}
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=6).hexdigest()
    return cache / f"{name}-{size}-{digest}"


def build_store(
    source: Source, size: int, cache: str | Path, workers: int | None = None, progress: bool | None = None
) -> ImageStore:
    """Return the store of ``source`` at ``size`` below ``cache``; build it if it is not there.

    The store is written to a folder that ends in ``.partial`` and renamed when complete. Concurrent calls
    wait for the first; what a killed build left is removed by the next. Equal images that lie in two splits
    or classes are warned of, and listed in meta.json.

    Args:
        source: the data set.
        size: side length of the stored images, in pixels.
        cache: folder of all stores; made if missing. One that holds the store need not be writable.
        workers: decoding threads; None for one a core.
        progress: show a bar with the time left on stderr; None if stderr is a terminal.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: ``size`` is below 1, the layout is wrong, images are damaged, or the store is of a newer
            format.
        OSError: the store cannot be written, for example because the disk is full.
    """
    if size < 1:
        raise ValueError(
            f"`size={size}` must be at least 1; set `data.init_args.size` to a side length in pixels."
        )
    key = dict(source.key(size))
    folder = _folder(source.name, size, key, Path(cache))
    with writable(folder.parent):
        finished = (folder / META).is_file()
        if not finished:
            folder.parent.mkdir(parents=True, exist_ok=True)
    if finished:
        return ImageStore.open(folder)
    with building_alone(folder):
        if not (folder / META).is_file():
            remove_abandoned(folder)
            show = sys.stderr.isatty() if progress is None else progress
            meta = _build(source, size, key, folder, workers or _cores(), show)
            warn_of_duplicates(meta["duplicates"], source.name, size, folder / META)
    return ImageStore.open(folder)


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(
    source: Source, size: int, key: dict[str, Any], folder: Path, workers: int, progress: bool
) -> dict[str, Any]:
    """Write the store and return its meta data."""
    records = source.scan()
    layout = class_layout(records, source.name)
    labels = class_labels(records, layout["class_names"])
    partial = partial_folder(folder)
    for leftover in (partial, folder):  # only reached under the lock and without meta.json: nobody uses them
        if leftover.exists():
            shutil.rmtree(leftover)
    shape = (len(records), source.channels, size, size)
    decoding = decode_batches(source, records, size, workers, progress)
    with writable(folder.parent):
        partial.mkdir()
    try:
        with full_disk_explained(folder.parent, math.prod(shape)), closing(decoding) as batches:
            statistics, hashes, images_sha256 = write_images(batches, shape, partial / IMAGES)
            meta = {
                "format": FORMAT_VERSION,
                "source": source.name,
                "options": key,
                "size": size,
                "channels": source.channels,
                "count": len(records),
                **layout,
                **statistics,
                "duplicates": find_duplicates(records, np.load(partial / IMAGES, mmap_mode="r"), hashes),
                "sha256": {IMAGES: images_sha256, LABELS: write_labels(labels, partial)},
            }
            write_file(partial / META, json.dumps(meta, indent=1, ensure_ascii=False).encode())
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return meta
