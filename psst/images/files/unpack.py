"""Archives unpacked: nothing outside the folder, nothing by half."""

import errno
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from psst.images.files.alone import alone, forget
from psst.images.files.archives import archive_kind
from psst.images.files.members import (
    ARCHIVE_ALLOWANCE,
    ArchiveError,
    open_zip,
    require_growth,
    require_unique,
    zip_members,
)
from psst.images.files.tars import open_tar, tar_index


def unpack(archive: Path, folder: Path) -> Path:
    r"""Unpack a zip or tar archive (gz, bz2, xz) to ``folder``, which appears when it is complete.

    Files get the names that `archive_entries` gives them, the user's default permissions and today's date.
    Symbolic links inside a tar archive are kept, hidden files left out (``.name``, ``__MACOSX/``).

    Args:
        archive: the file.
        folder: must not exist, or be empty; its parents are made if missing.

    Returns:
        ``folder``.

    Raises:
        FileExistsError: ``folder`` holds something.
        ValueError: the archive is damaged, or holds something that no data set needs: names or links that
            lead out, devices, names that come twice (on a disk without cases: by case), encryption, a bomb.
        OSError: the folder cannot be written, or the disk is full.
    """
    archive, folder = Path(archive), Path(folder).expanduser()
    _require_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(folder.parent, os.W_OK):
        raise PermissionError(
            errno.EACCES, f"`{folder.parent}` cannot be written; unpack `{archive}` to a folder that can"
        )
    partial, lock = folder.with_name(f".{folder.name}.unpacking"), folder.with_name(f".{folder.name}.lock")
    with alone(lock, f"`{archive}` is being unpacked"):
        try:
            _require_empty(folder)  # another process may have been first
            if partial.exists():  # left by a killed process
                shutil.rmtree(partial)
            partial.mkdir()
            (_unpack_zip if archive_kind(archive) == "zip" else _unpack_tar)(archive, partial)
            if folder.exists():
                folder.rmdir()
            partial.replace(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            forget(lock)
    return folder


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"`{folder}` is there and not empty; unpack to a new folder, or move what is there away."
        )


def _unpack_zip(path: Path, folder: Path) -> None:
    with open_zip(path) as archive:
        members = list(zip_members(archive, path))
        total = sum(info.file_size for _, info in members)
        _require_fit(total, path, folder, (name for name, _ in members))
        for name, info in members:
            with _explained(name, path, folder), archive.open(info) as source:
                _copy(source, folder / name)


def _unpack_tar(path: Path, folder: Path) -> None:
    with open_tar(path) as (archive, file):
        size = path.stat().st_size if file is None else os.fstat(file.fileno()).st_size
        index = tar_index(archive, path, size)
        names = (*index.files, *index.links)
        _require_fit(size, path, folder, names)
        for name, info in index.files.items():
            if hasattr(tarfile, "data_filter"):  # a second opinion, from Python 3.11.4 on
                tarfile.data_filter(info, str(folder))
            source = archive.extractfile(info)
            assert source is not None
            with _explained(name, path, folder), source:
                _copy(source, folder / name)
        for name, target in index.links.items():
            with _explained(name, path, folder):
                _link(folder, name, target, index.targets.get(name))


def _link(folder: Path, name: str, target: str, text: str | None) -> None:
    """Make a symbolic link with its own ``text``, or a hard one to the path ``target``."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        place.symlink_to(text)
    else:
        place.hardlink_to(folder / target)


def _copy(source: IO[bytes], place: Path) -> None:
    if not place.parent.is_dir():
        place.parent.mkdir(parents=True)
    with place.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _require_fit(total: int, path: Path, folder: Path, names: Iterable[str]) -> None:
    """Check the whole before anything is written: no bomb, room enough, and one file a name on this disk."""
    require_growth(total, path.stat().st_size, ARCHIVE_ALLOWANCE, f"`{path}`")
    free = shutil.disk_usage(folder).free
    if free < total:
        raise OSError(
            errno.ENOSPC,
            f"`{path}` unpacks to {total} bytes, and `{folder.parent}` has room for {free}; free some space, "
            "or unpack to a larger disk",
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix="aA") as probe:
        cases = not Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()
    require_unique(names, path, cases)


@contextmanager
def _explained(name: str, path: Path, folder: Path) -> Iterator[None]:
    """Name the member that is damaged, or cannot be written."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise ArchiveError(f"`{name}` in `{path}` cannot be read ({error}); download it again.") from error
    except OSError as error:
        raise OSError(
            error.errno,
            f"`{name}` of `{path}` cannot be written to `{folder.parent}` ({error.strerror}); nothing was "
            "kept.",
        ) from error
