"""What has to be unpacked before it can be read in any order: in files that need no name and leave none."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO


def unpacked(pieces: Iterable[bytes], what: str) -> IO[bytes]:
    """Write ``pieces`` into a temporary file that lives as long as the returned object.

    Args:
        pieces: the content; whatever it raises is passed on.
        what: the file that it comes from, for the message.

    Raises:
        OSError: there is no room.
    """
    file = tempfile.TemporaryFile(prefix="psst-")  # noqa: SIM115 - the caller keeps it open
    try:
        for piece in pieces:
            with no_room_explained(what):
                file.write(piece)
        with no_room_explained(what):
            file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def no_room_explained(what: str) -> Iterator[None]:
    """Say of an OSError in the block that ``what`` could not be unpacked, and where there is room."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} cannot be unpacked into `{tempfile.gettempdir()}` ({error.strerror}); free some space "
            "there, or set the environment variable TMPDIR to a folder on a larger disk.",
        ) from error
