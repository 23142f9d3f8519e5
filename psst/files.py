"""Files that are whole or absent: written under a temporary name, then renamed."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["atomic_path", "read_json", "write_atomic", "write_json"]


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to, and rename it to `path` when the block succeeds.

    If the block fails or is interrupted the temporary file is removed and `path` is as it was.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes a private file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path | str, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: Mapping[str, Any], format: int) -> None:  # noqa: A002  # the key's name
    """Write `data` and the number of its format as JSON, whole or not at all."""
    write_atomic(path, json.dumps({"format": format, **data}, indent=1))


def read_json(path: Path | str, format: int, what: str) -> dict[str, Any]:  # noqa: A002  # the key's name
    """Read what `write_json` has written, without the number of its format.

    Args:
        path: The file, which exists.
        format: The newest that can be read.
        what: Name of such a file, for errors, with its article.

    Raises:
        ValueError: The file is damaged, something else, or of a newer format.
    """
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        found = int(content.pop("format"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"`{path}` is damaged, or is not {what} ({error!r}); remove it.") from error
    if found > format:
        raise ValueError(
            f"`{path}` is {what} of format {found}, this version reads up to {format}; upgrade psst-fewshot."
        )
    return content
