"""Files that are whole or absent, and those of ours with a format number: JSON and NumPy's npz."""

import csv
import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, or what the user may have of it, is full

_FORMAT = "format"  # the key of the format number, in both kinds
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError, BadZipFile)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to, and rename it to `path` when the block succeeds.

    If the block fails or is interrupted the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"`{path}` is a folder; name a file")
    with explained(f"`{path}` cannot be written", "name a place in a folder that you may write"):
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


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Give a new folder beside `path` to write to, and rename it to `path` when the block succeeds.

    What was there goes only when the new folder stands. If the block fails or is interrupted the new folder
    is removed and `path` is as it was.
    """
    path = Path(path)
    with explained(f"`{path}` cannot be made", "name a folder below one that you may write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    aside = path.parent / f"{temporary.name}.old"
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes a private folder
        with explained(f"`{path}` cannot be replaced by a new folder", "name one that is not there yet"):
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise


def write_atomic(path: Path | str, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to a .json or .csv file, whole or not at all; what a row lacks is left empty in a csv."""
    if path.suffix == ".json":
        return write_atomic(path, json.dumps(rows, indent=1, ensure_ascii=False))
    writer = csv.DictWriter(text := io.StringIO(), dict.fromkeys(chain(*rows)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_atomic(path, text.getvalue())


def write_json(path: Path | str, content: Mapping[str, Any], version: int) -> None:
    """Write `content` and the number of its format to `path`, whole or not at all."""
    write_atomic(path, json.dumps({_FORMAT: version, **content}, indent=1, ensure_ascii=False))


def read_json(path: Path | str, version: int, what: str, advice: str = "remove it") -> dict[str, Any]:
    """Return what `write_json` wrote in format `version`, the only one that is read.

    FileNotFoundError if there is no such file, ValueError if it is damaged, something else, or of another
    format; both call the file `what`, as the user knows it, and give the `advice`.
    """
    with _explained(Path(path), what, advice):
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        found = int(content.pop(_FORMAT))
    _require(found, version, what, advice)
    return content


def write_npz(path: Path | str, arrays: Mapping[str, Any], version: int) -> None:
    """Write arrays and the number of their format to exactly `path`, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{_FORMAT: np.int64(version), **arrays})


def read_npz(
    path: Path | str, version: int, what: str, advice: str, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return what `write_npz` wrote, or those of its arrays that are named; see `read_json`."""
    with _explained(Path(path), what, advice), np.load(path, allow_pickle=False) as file:
        found = int(file[_FORMAT])
        wanted = [name for name in file.files if name != _FORMAT] if names is None else names
        arrays = {name: file[name] for name in wanted} if found == version else {}
    _require(found, version, what, advice)
    return arrays


@contextmanager
def explained(law: str, advice: str, only_full: bool = False) -> Iterator[None]:
    """Say what an OSError of the block, or with `only_full` that of a full disk, means for the user.

    `law` says what cannot be done, without a full stop, and the system's own words follow it; `advice` is the
    way out.
    """
    try:
        yield
    except OSError as error:
        if only_full and error.errno not in _NO_ROOM:
            raise
        raise OSError(error.errno, f"{law} ({error.strerror}); {advice}") from error


@contextmanager
def _explained(path: Path, what: str, advice: str) -> Iterator[None]:
    if not path.is_file():
        raise FileNotFoundError(f"{what} is not there; {advice}.")
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"{what} is damaged, or something else ({error}); {advice}.") from error


def _require(found: int, version: int, what: str, advice: str) -> None:
    if found != version:
        upgrade = "upgrade psst-fewshot, or " if found > version else ""
        raise ValueError(f"{what} has format {found}, this psst reads format {version}; {upgrade}{advice}.")
