"""What a search remembers in its folder: finished units, what was tested, and that it runs there now."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from psst.files import read_json, write_json
from psst.search.ranks import first_only

_FORMAT = 2
_MANIFEST, _TOUCHED = "manifest.json", "test_touched.json"


class Manifest:
    """`manifest.json` of a search: written whole after each finished unit.

    It holds the identity of the run (model, data, seed), versions of psst and torch, and for each unit its
    key and result. A unit whose key has changed is trained anew.

    Args:
        folder: Of the search.
        identity: Of the run.
        option: How the user gives the folder.

    Raises:
        ValueError: The folder holds a search of another model, data or seed, or one of another format.

    Attributes:
        remarks: What is to be said of what was found.
    """

    def __init__(self, folder: Path, identity: str, option: str = "--output") -> None:
        self.path = folder / _MANIFEST
        self.identity = identity
        self.versions = {"psst": version("psst-fewshot"), "torch": torch.__version__}
        self.units: dict[str, dict[str, Any]] = {}
        self.budget: dict[str, Any] = {}
        self.remarks: list[str] = []
        known = self._known()
        if not known.get("units"):  # nothing to lose: a first try that failed binds nobody
            return
        if known["identity"] != identity:
            raise ValueError(
                f"`{option} {folder}` holds a search of another model, data or seed:\n"
                f"{_changes(known['identity'], identity)}\n"
                f"Give another `{option}`, or go on with the first configuration."
            )
        self.units, self.budget = known["units"], known.get("budget", {})
        for name, now in self.versions.items():
            if known["versions"].get(name) != now:
                self.remarks.append(f"begun with {name} {known['versions'].get(name)}, now {now}")

    def result(self, name: str, key: str) -> dict[str, Any] | None:
        """What a unit has given; None if it is not finished, or was one with another key."""
        unit = self.units.get(name)
        return None if unit is None or unit["key"] != key else unit["result"]

    def finish(self, name: str, key: str, result: Mapping[str, Any]) -> None:
        """Record a unit's result; from now on it is not run again."""
        self.units[name] = {"key": key, "result": dict(result)}
        self.write()

    @first_only
    def write(self) -> None:
        """Write the file."""
        content = {"identity": self.identity, "versions": self.versions, "budget": self.budget}
        write_json(self.path, {**content, "units": self.units}, _FORMAT)

    def _known(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {}
        try:
            return read_json(self.path, _FORMAT, f"the search's manifest `{self.path}`")
        except ValueError:
            if _is_json(self.path):
                raise
        self.remarks.append(f"`{self.path}` is damaged; what units have left is read anew")
        return {}


def touch_test(folder: Path, units: Sequence[str]) -> list[dict[str, Any]]:
    """Note, before models see the test, that they are about to; return all such notes in order."""
    path = folder / _TOUCHED
    looks: list[dict[str, Any]] = []
    if path.is_file():
        looks = read_json(path, _FORMAT, f"the record of tests `{path}`")["looks"]
    if not looks or looks[-1]["units"] != list(units):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        looks.append({"when": now, "units": list(units)})
        first_only(write_json)(path, {"looks": looks}, _FORMAT)
    return looks


@contextmanager
def occupied(folder: Path, option: str) -> Iterator[None]:
    """Hold the folder, before anything is written; the system lets go of it when this process ends.

    Raises:
        ValueError: Another search runs there.
    """
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


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _changes(before: str, now: str) -> str:
    """The lines in which two configurations differ."""
    lines = difflib.unified_diff(
        before.splitlines(), now.splitlines(), "started with", "asked for now", n=0, lineterm=""
    )
    return "\n".join(line for line in lines if not line.startswith("@@"))
