"""One process at a time; who waits says for what."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PATIENCE = 3.0  # seconds of silent waiting


@contextmanager
def alone(lock_file: Path, what: str) -> Iterator[None]:
    """Hold a lock during the block; a process that dies gives it back.

    After some seconds of waiting a line on stderr says ``what`` another process is at. Who waited has to look
    what the other one left: it may have finished.

    Raises:
        OSError: the lock file cannot be written.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        print(f"{what} by another process; waiting until it has finished.", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def forget(lock_file: Path) -> None:
    """Remove a lock file, held or not; who waits for it makes a new one."""
    with suppress(OSError):
        lock_file.unlink()
