"""The search's memory: which units are finished, and what each of them found."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psst.files import write_atomic
from psst.search.ranks import is_first

__all__ = ["Manifest"]

FORMAT = 1
NAME = "manifest.json"


class Manifest:
    """`manifest.json` of a search: written whole after each finished unit.

    Args:
        folder: The search's output folder.
        config: The whole configuration as YAML; a search in this folder must have been started with the same.
        option: How the user typed the folder, for errors.

    Raises:
        ValueError: The folder holds a search with another configuration, or one of a newer format.
    """

    def __init__(self, folder: Path, config: str, option: str = "--output") -> None:
        self.path = folder / NAME
        self.option = option
        self.config = config
        self.units: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._read()
        else:
            self._write()

    @staticmethod
    def has_units(folder: Path) -> bool:
        """Whether a search in this folder has finished a unit."""
        path = folder / NAME
        return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("units"))

    def _read(self) -> None:
        content = json.loads(self.path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ValueError(
                f"`{self.path}` has format {content['format']}, this version reads up to {FORMAT}; "
                "upgrade psst-fewshot."
            )
        if not content["units"]:  # nothing to lose: a first try that failed binds nobody
            self._write()
            return
        if content["config"] != self.config:
            changes = "\n".join(
                line
                for line in difflib.unified_diff(
                    content["config"].splitlines(),
                    self.config.splitlines(),
                    "started with",
                    "asked for now",
                    n=0,
                    lineterm="",
                )
                if not line.startswith("@@")
            )
            raise ValueError(
                f"`{self.option} {self.path.parent}` holds a search with another configuration:\n{changes}\n"
                f"Give another `{self.option}`, or go on with the first configuration."
            )
        self.units = content["units"]

    def _write(self) -> None:
        content = {"format": FORMAT, "config": self.config, "units": self.units}
        if not is_first():
            return
        write_atomic(self.path, json.dumps(content, indent=1))

    def finished(self, name: str) -> bool:
        """Whether the unit called `name` has been trained and evaluated."""
        return name in self.units

    @property
    def cost(self) -> tuple[int, float]:
        """Optimizer steps and seconds of training of all finished units."""
        units = self.units.values()
        return sum(unit.get("steps", 0) for unit in units), sum(unit.get("seconds", 0.0) for unit in units)

    def finish(self, name: str, result: Mapping[str, Any]) -> None:
        """Record a unit's result; from now on it is not run again."""
        self.units[name] = dict(result)
        self._write()
