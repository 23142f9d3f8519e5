"""Turn a source into a store, once: parallel, locked, and never half-finished under its final name."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from psst.components import describe
from psst.files import explained, write_json
from psst.images.classes import arrange, find_duplicates
from psst.images.files.waiting import alone
from psst.images.source import Source
from psst.images.store import ImageStore
from psst.images.writing import write_images

_PARTIAL = ".partial"  # ends the name of a folder that is not finished

_known: dict[str, str] | None = None  # description of a source, size and cache -> folder; None outside a run


@contextmanager
def trust(known: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Look at the files of a data set once during the block, instead of whenever its store is opened.

    For runs that open one store many times. Outside of such a block every `build_store` looks anew, so that
    files that have changed are noticed when the next run begins. Blocks inside a block are part of it. A
    source counts as the same if its class, its arguments, the size and the cache are; one whose arguments
    are more than plain values (objects, functions) is looked at every time.

    Args:
        known: what another block has found out: hand it to a worker process, which then looks at no file.

    Yields:
        What is known, plain text that can be pickled or written as JSON; it grows during the block.

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
    source: Source, size: int, cache: str | Path, workers: int | None = None, progress: bool | None = None
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
        progress: show a bar with the time left on stderr; None if stderr is a terminal.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: ``size`` is below 1, the layout is wrong, images are damaged, or the store is of another
            format.
        OSError: the store cannot be written, for example because the disk is full.
    """
    if size < 1:
        raise ValueError(
            f"`size={size}` must be at least 1; set `data.init_args.size` to a side length in pixels."
        )
    description = None if _known is None else _described(source, size, cache)
    trusted = None if _known is None or description is None else _known.get(description)
    if trusted is not None and (Path(trusted) / ImageStore.meta_file).is_file():
        return ImageStore(trusted)
    key = dict(source.key(size))
    folder = _folder(source.name, size, key, Path(cache))
    meta = folder / ImageStore.meta_file
    with writable(folder.parent):
        finished = meta.is_file()
        if not finished:
            folder.parent.mkdir(parents=True, exist_ok=True)
    if not finished:
        with ExitStack() as held:
            with writable(folder.parent):
                held.enter_context(
                    alone(folder.with_name(f"{folder.name}.lock"), f"`{folder}` is being prepared")
                )
            if not meta.is_file():
                show = sys.stderr.isatty() if progress is None else progress
                _build(source, size, key, folder, workers or cores(), show)
    if _known is not None and description is not None:
        _known[description] = str(folder.resolve())
    return ImageStore(folder)


def _folder(name: str, size: int, key: Mapping[str, Any], cache: Path) -> Path:
    options = {"format": ImageStore.format_version, "source": name, "size": size, "key": dict(key)}
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=6).hexdigest()
    return cache / f"{name}-{size}-{digest}"


def _described(source: Source, size: int, cache: str | Path) -> str | None:
    """Return what tells a source from others; None for one that holds more than plain arguments."""
    try:
        return json.dumps([describe(source), size, str(Path(cache).resolve())], sort_keys=True)
    except (TypeError, ValueError):
        return None


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(
    source: Source, size: int, key: dict[str, Any], folder: Path, workers: int, progress: bool
) -> None:
    records, layout, labels = arrange(source.scan(), source.name)
    partial = folder.with_name(folder.name + _PARTIAL)
    for leftover in (partial, folder):  # only reached under the lock and without meta.json: nobody uses them
        if leftover.exists():
            shutil.rmtree(leftover)
    with writable(folder.parent):
        partial.mkdir()
    try:
        needed = len(records) * source.channels * size**2 / 2**20
        with explained(
            f"no room for the store in `{folder.parent}`: it needs {needed:.1f} MiB",
            "free some space, or set `data.init_args.cache_dir` to a folder on a larger disk. Nothing was "
            "kept.",
            only_full=True,
        ):
            mean, std, digests = write_images(
                source, records, size, partial / ImageStore.images_file, workers, progress
            )
            meta = {
                "source": source.name,
                "options": key,
                "size": size,
                "channels": source.channels,
                "count": len(records),
                **layout,
                "mean": mean,
                "std": std,
                "duplicates": find_duplicates(
                    records, digests, source.name, size, folder / ImageStore.meta_file
                ),
            }
            np.save(partial / ImageStore.labels_file, labels)
            meta["sha256"] = ImageStore.checksums(partial, meta)
            write_json(partial / ImageStore.meta_file, meta, ImageStore.format_version)
            for name in (
                ImageStore.images_file,
                ImageStore.labels_file,
                ImageStore.meta_file,
            ):  # all on the disk before the folder gets its name
                with (partial / name).open("rb") as file:
                    os.fsync(file.fileno())
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def writable(cache: Path) -> AbstractContextManager[None]:
    """Say what it means that ``cache`` cannot be written; the block touches nothing else."""
    return explained(
        f"no store can be made in `data.init_args.cache_dir={cache}`",
        "set `data.init_args.cache_dir` to a folder that you may write",
    )
