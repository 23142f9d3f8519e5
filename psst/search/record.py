"""What a search remembers in its folder: finished units, what was tested, and that it runs there now."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from psst.files import read_json, write_json
from psst.search.ranks import first_only

_FORMAT = 1
_MANIFEST = "manifest.json"


class Manifest:
    """`manifest.json` of a search: written whole after each finished unit.

    A search must go on with the whole configuration, as YAML, with which it was started in the folder.

    Raises:
        ValueError: The folder holds a search with another configuration, or one of a newer format.

    Example:
        >>> Manifest(folder, experiment.yaml()).finish("warm", {"kind": "warm", "steps": 60})
    """

    def __init__(self, folder: Path, config: str, option: str = "--output") -> None:
        self.folder = folder
        self.option = option
        self.config = config
        self.units: dict[str, dict[str, Any]] = {}
        known = _known(folder)
        if not known["units"]:  # nothing to lose: a first try that failed binds nobody
            self._write()
            return
        if known["config"] != config:
            raise ValueError(
                f"`{option} {folder}` holds a search with another configuration:\n"
                f"{_changes(known['config'], config)}\n"
                f"Give another `{option}`, or go on with the first configuration."
            )
        self.units = known["units"]

    @staticmethod
    def has_units(folder: Path) -> bool:
        """Whether a search in this folder has finished a unit."""
        return bool(_known(folder)["units"])

    def finished(self, name: str) -> bool:
        """Whether the unit called `name` has been trained and evaluated."""
        return name in self.units

    def finish(self, name: str, result: Mapping[str, Any]) -> None:
        """Record a unit's result; from now on it is not run again."""
        self.units[name] = dict(result)
        self._write()

    @first_only
    def _write(self) -> None:
        write_json(self.folder / _MANIFEST, {"config": self.config, "units": self.units}, _FORMAT)


class TestRecord:
    """`test_touched.json`: which models have seen the test, and when, is written before they see it.

    Example:
        >>> TestRecord(folder).touch(["anchor-0.3", "plain"])
        ''
    """

    __test__ = False  # for pytest: no test

    def __init__(self, folder: Path, option: str = "--output") -> None:
        self.path = folder / "test_touched.json"
        self.option = option

    def read(self) -> dict[str, Any] | None:
        """``when`` and ``units``; None if nothing has been tested."""
        return (
            read_json(self.path, _FORMAT, f"the record of tests `{self.path}`")
            if self.path.is_file()
            else None
        )

    @first_only
    def touch(self, units: Sequence[str]) -> str:
        """Note that these units are about to be tested.

        Returns:
            When the test was touched before, by these units or more, whose results are used again; empty if
            this is the first time.

        Raises:
            ValueError: Other units have been tested: another look at the test would be one more choice.
        """
        before = self.read()
        if before is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(self.path, {"when": now, "units": list(units)}, _FORMAT)
            return ""
        new = [name for name in units if name not in before["units"]]
        if new:
            raise ValueError(
                f"`{self.option} {self.path.parent}` was tested on {before['when']} with "
                f"{', '.join(before['units'])}, and now {', '.join(new)} would see the test, too: it is for "
                f"one choice. Give another `{self.option}` for another search, or compare models with "
                "`psst test` where the test may be seen again."
            )
        return str(before["when"])


@contextmanager
def occupied(folder: Path, option: str) -> Iterator[None]:
    """Hold the folder; the system lets go of it when this process ends, however it does.

    Raises:
        ValueError: Another search runs there.
    """
    lock = FileLock(folder / "search.lock")
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


def _known(folder: Path) -> dict[str, Any]:
    """The manifest in a folder; an empty one if there is none."""
    path = folder / _MANIFEST
    return read_json(path, _FORMAT, f"the search's manifest `{path}`") if path.is_file() else {"units": {}}


def _changes(before: str, now: str) -> str:
    """The lines in which two configurations differ."""
    lines = difflib.unified_diff(
        before.splitlines(), now.splitlines(), "started with", "asked for now", n=0, lineterm=""
    )
    return "\n".join(line for line in lines if not line.startswith("@@"))
