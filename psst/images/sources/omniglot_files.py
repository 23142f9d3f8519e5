"""Where Omniglot's drawings lie: in the official archives, in folders, and on the network."""

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from psst.images.files.archives import Entry, folder_entries, zip_entries
from psst.images.files.download import RemoteFile

DRAWING = re.compile(r"(?:^|/)(?P<alphabet>[^/]+)/(?P<character>character\d+)/(?P<drawing>\d+_\d+\.png)$")
"""Path of a drawing: alphabet, character, number of the character and of its drawer."""

_PYTHON = ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python",)
_MOST = 200  # folders, and entries of a folder, that are looked at before a layout is ruled out
_LEVELS = 3


def _remote(path: str, known_hash: str, size: int | None = None) -> RemoteFile:
    return RemoteFile(Path(path).name, tuple(f"{base}/{path}" for base in _PYTHON), known_hash, size)


SMALL = (
    _remote(
        "images_background_small1.zip",
        "sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        1_319_022,
    ),
    _remote(
        "images_background_small2.zip",
        "sha256:3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        1_580_917,
    ),
)
BACKGROUND = _remote("images_background.zip", "md5:68d2efa1b9178cc56df9314c21c6e718")
EVALUATION = _remote("images_evaluation.zip", "md5:6b91aef0f799c5bb55b94e3f2daec811")
ALL_RUNS = _remote(
    "one-shot-classification/all_runs.zip",
    "sha256:437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
    352_787,
)


MANUAL = (
    "https://github.com/brendenlake/omniglot, folder python, has the archives; they are read as they are."
)


def remote_files(protocol: str) -> tuple[RemoteFile, ...]:
    """Return the archives that a protocol of `psst.datamodules.Omniglot` needs."""
    if protocol == "minimal":
        return SMALL
    return (BACKGROUND,) if protocol == "background" else (BACKGROUND, EVALUATION)


def all_entries(root: Path) -> Iterator[Entry]:
    """Yield what lies in every zip file below ``root``, then every png file below it."""
    for path in sorted(root.rglob("*.zip")):
        yield from zip_entries(path)
    yield from folder_entries(root, (".png",))


def sees(folder: Path) -> str | None:
    """Say which Omniglot archives and alphabets lie in ``folder`` or up to two levels below, else None.

    It looks at names only, a few hundred of them at most.
    """
    found = []
    level = [folder]
    for _ in range(_LEVELS):
        below: list[Path] = []
        for place in level[:_MOST]:
            folders, archives = _content(place)
            below += folders
            alphabets = sum(_is_folder(path / "character01") for path in folders)
            places = {place: alphabets} | {path: len(_alphabets(path)) for path in archives}
            found += [_described(path, folder, count) for path, count in places.items() if count]
        level = below
    return ", ".join(found) or None


def _described(path: Path, folder: Path, count: int) -> str:
    where = "" if path == folder else f" in {path.relative_to(folder).as_posix()}"
    return f"{count} alphabet{'s' if count > 1 else ''}{where}"


def _content(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the zip files among the first entries of ``folder``."""
    try:
        with os.scandir(folder) as entries:
            first = [entry for entry, _ in zip(entries, range(_MOST), strict=False)]
        folders = [Path(entry.path) for entry in first if entry.is_dir(follow_symlinks=False)]
        archives = [Path(entry.path) for entry in first if entry.name.lower().endswith(".zip")]
    except OSError:
        return [], []
    return sorted(folders), sorted(archives)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _alphabets(path: Path) -> set[str]:
    """Return the alphabets whose drawings a zip file lists; none if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            matches = map(DRAWING.search, archive.namelist())
            return {match["alphabet"] for match in matches if match}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return set()
