"""One process at a time builds a store; the others wait."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from psst.images.faults import writable
from psst.images.files.alone import alone
from psst.images.store import IMAGES, LABELS, META

_PARTIAL = ".partial"


def partial_folder(folder: Path) -> Path:
    """Return where the store ``folder`` is built before it gets its name."""
    return folder.with_name(folder.name + _PARTIAL)


@contextmanager
def building_alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a store during the block; see `alone`.

    Raises:
        OSError: the lock file cannot be written.
    """
    with ExitStack() as held:
        with writable(folder.parent):
            held.enter_context(alone(_lock_file(folder), f"`{folder}` is being prepared"))
        yield


def remove_abandoned(mine: Path) -> None:
    """Remove what killed builds of other stores left beside ``mine``; those at work keep theirs."""
    for partial in mine.parent.glob(f"*{_PARTIAL}"):
        folder = partial.with_name(partial.name.removesuffix(_PARTIAL))
        if folder == mine or not _lock_file(folder).is_file() or not _is_store(partial):
            continue
        lock = _lock(folder)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue
        try:
            shutil.rmtree(partial, ignore_errors=True)
        finally:
            lock.release()


def _is_store(partial: Path) -> bool:
    return partial.is_dir() and {path.name for path in partial.iterdir()} <= {IMAGES, LABELS, META}


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _lock(folder: Path) -> FileLock:
    return FileLock(_lock_file(folder))
