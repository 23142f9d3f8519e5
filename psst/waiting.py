"""What a user waits for: another process, said in a line, or the work of this one, shown by a bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_Show = Callable[[int, int | None], None]  # of how much is done, and of the whole if it is known

_PATIENCE = 3.0  # seconds of silent waiting


@contextmanager
def alone(lock_file: Path, what: str) -> Iterator[None]:
    """Hold a lock during the block; a process that dies gives it back.

    After some seconds of waiting a line on stderr says ``what`` another process is at. Who waited has to look
    what the other one left: it may have finished.
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


@contextmanager
def bar(label: str, in_bytes: bool = False) -> Iterator[_Show]:
    """Give a function that moves a bar on stderr, with the time left, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    amount = DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn()
    columns = ("{task.description}", BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
