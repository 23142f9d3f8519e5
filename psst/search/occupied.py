"""One search at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from psst.search.ranks import is_first

__all__ = ["occupied"]


@contextmanager
def occupied(folder: Path, option: str) -> Iterator[None]:
    """Hold the folder; the system lets go of it when this process ends, however it does.

    Args:
        folder: Of a search.
        option: How the user typed it.

    Raises:
        ValueError: Another search runs there.
    """
    lock = FileLock(folder / "search.lock")
    if is_first():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"`{option} {folder}` is in use by a search that runs now; wait for its end, or give another "
                f"`{option}`."
            ) from None
    try:
        yield
    finally:
        lock.release()
