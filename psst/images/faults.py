"""What goes wrong with the cache folder, in words that name the way out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR)


@contextmanager
def full_disk_explained(cache: Path, needed: int) -> Iterator[None]:
    """Say what a full disk means for the caller; ``needed`` bytes are to fit into ``cache``."""
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


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    """Say what it means that ``cache`` cannot be written; the block touches nothing else.

    Raises:
        OSError: of the kind that the block raised.
    """
    try:
        yield
    except OSError as error:
        reason = "a file is in the way" if error.errno in _IN_THE_WAY else error.strerror
        raise OSError(
            error.errno,
            f"no store can be made in `data.init_args.cache_dir={cache}` ({reason}); set "
            "`data.init_args.cache_dir` to a folder that you may write",
        ) from error
