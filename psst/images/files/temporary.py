"""What has to be unpacked before it can be read in any order: in files that need no name and leave none."""

import tempfile
from collections.abc import Iterable
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
            _write(file, piece, what)
        _write(file, b"", what)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _write(file: IO[bytes], piece: bytes, what: str) -> None:
    """Write ``piece``, and what waits if that is empty."""
    try:
        file.write(piece)
        if not piece:
            file.flush()
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} cannot be unpacked into `{tempfile.gettempdir()}` ({error.strerror}); free some space "
            "there, or set the environment variable TMPDIR to a folder on a larger disk.",
        ) from error
