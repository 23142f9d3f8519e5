"""What a search remembers in its folder: what units gave, what was tested, and that it runs there now."""

import difflib
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from psst.files import read_json, write_json
from psst.search.ranks import first_only
from psst.search.unit import Unit

_FORMAT = 4
_MANIFEST, _TOUCHED = "manifest.json", "test_touched.json"


class UnitFolder:
    """``units/<name>``: unit.json says what is made there and, once it is done, what came of it.

    ``last.ckpt`` is there while a unit trains, ``model.ckpt`` at its end. A test leaves test.json beside its
    model.
    """

    def __init__(self, folder: Path, unit: Unit) -> None:
        self.path = unit_path(folder, unit.parent if unit.test else unit.name)
        self.model = self.path / "model.ckpt"
        self.last = self.path / "last.ckpt"
        self._record = self.path / ("test.json" if unit.test else "unit.json")
        self._unit = unit

    @property
    def result(self) -> dict[str, Any] | None:
        """What came of it, None if it is not finished; ValueError for a damaged record."""
        known = _read(self._record, f"`{self._record}`")
        return known.get("result") if known.get("key") == self._unit.key else None

    @first_only
    def open(self) -> None:
        """Keep what the same unit has left here; else begin anew."""
        known: dict[str, Any] = {}
        with suppress(ValueError):
            known = _read(self._record, "it")
        if known.get("key") != self._unit.key and not self._unit.test:
            shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        for unfinished in self.path.glob(".*"):
            unfinished.unlink()
        self._write({})

    @first_only
    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep what came of it; from now on it is not made again."""
        self._write({"result": dict(result)})
        self.last.unlink(missing_ok=True)

    @property
    def checkpoint(self) -> Path | None:
        """From where the training goes on; None if it begins."""
        return self.last if whole(self.last) else None

    def _write(self, more: Mapping[str, Any]) -> None:
        write_json(self._record, {"key": self._unit.key, "unit": asdict(self._unit), **more}, _FORMAT)


def unit_path(folder: Path, name: str) -> Path:
    """Where a unit keeps its log, checkpoint and scores."""
    return folder / "units" / name


def whole(path: Path) -> bool:
    """Whether a checkpoint is there to its end: a zip archive, listed at the end."""
    return path.is_file() and zipfile.is_zipfile(path)


class Manifest:
    """`manifest.json` of a search: identity of the run (model, data, seed), versions, and the budget.

    It is there once a unit is finished: a first try that failed binds nobody. ValueError where the folder
    holds a search of another model, data or seed, or one of another format.
    """

    def __init__(self, folder: Path, identity: str, option: str) -> None:
        self.path = folder / _MANIFEST
        self.identity = identity
        self.versions = {"psst": version("psst-fewshot"), "torch": torch.__version__}
        self.budget: dict[str, Any] = {}
        self.remarks: list[str] = []  # what is to be said of what was found
        try:
            known = _read(self.path, f"the search's manifest `{self.path}`")
        except ValueError as error:
            if "is damaged" not in str(error):
                raise
            self.remarks.append(f"{str(error).split(',')[0]}; what units have left is read anew")
            known = {}
        if not known:
            return
        if known["identity"] != identity:
            pair = known["identity"].splitlines(), identity.splitlines()
            lines = difflib.unified_diff(*pair, "started with", "asked for now", n=0, lineterm="")
            changes = "\n".join(line for line in lines if not line.startswith("@@"))
            raise ValueError(
                f"`{option} {folder}` holds a search of another model, data or seed:\n{changes}\n"
                f"Give another `{option}`, or go on with the first configuration."
            )
        self.budget = known["budget"]
        for name, now in self.versions.items():
            if known["versions"].get(name) != now:
                self.remarks.append(f"begun with {name} {known['versions'].get(name)}, now {now}")

    @first_only
    def write(self) -> None:
        """Write the file."""
        content = {"identity": self.identity, "versions": self.versions, "budget": self.budget}
        write_json(self.path, content, _FORMAT)

    def touch_test(self, units: Sequence[str]) -> list[dict[str, Any]]:
        """Note, before models see the test, that they are about to; return all such notes in order."""
        path = self.path.with_name(_TOUCHED)
        looks: list[dict[str, Any]] = _read(path, f"the record of tests `{path}`").get("looks", [])
        if not looks or looks[-1]["units"] != list(units):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            looks.append({"when": now, "units": list(units)})
            first_only(write_json)(path, {"looks": looks}, _FORMAT)
        return looks

    @staticmethod
    def known_budget(folder: Path) -> dict[str, Any]:
        """Return what a search in this folder may take; nothing where that is not known."""
        with suppress(ValueError):
            return dict(_read(folder / _MANIFEST, "the manifest").get("budget", {}))
        return {}


@contextmanager
def occupied(folder: Path, option: str) -> Iterator[None]:
    """Hold the folder against other searches; the system lets go of it when this process ends."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "search.lock"
    lock = FileLock(path)
    try:
        first_only(lock.acquire)(timeout=0)
    except Timeout:
        raise ValueError(
            f"`{option} {folder}` is in use by a search that runs now; wait for its end, or give another "
            f"`{option}`."
        ) from None
    try:
        yield
    finally:
        lock.release()
        if made and {left.name for left in folder.iterdir()} <= {path.name}:  # refused: nothing is left
            path.unlink(missing_ok=True)
            folder.rmdir()


def _read(path: Path, what: str) -> dict[str, Any]:
    """Read a record; empty where there is none."""
    try:
        return read_json(path, _FORMAT, what)
    except FileNotFoundError:
        return {}
