"""What a search shows while it runs: the units in training, the time left, the best so far."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from psst.files import read_json, write_json
from psst.search.ranks import first_only

Report = Callable[[Path, int, int], None]
"""Gets a unit's folder, the optimizer step with which its training began or went on, and where it is."""

_FORMAT = 1


@dataclass
class _Running:
    """A unit in training."""

    start: int  # optimizer step at which it starts
    steps: int  # it takes
    known: int | None = None  # where this process has first met it: what came before costs no time now
    step: int = 0  # at which it is

    @property
    def done(self) -> int:
        """Steps of the unit that are done."""
        return max(self.step - self.start, 0)

    @property
    def done_here(self) -> int:
        """Steps of the unit that have taken time since the search was started."""
        return 0 if self.known is None else max(self.step - self.known, 0)


class SearchProgress:
    """Counts optimizer steps over all units; one line a unit, and a running line on a terminal."""

    def __init__(self, total_steps: int, stream: TextIO | None = None) -> None:
        self.total_steps = total_steps  # expected of the whole search; may be revised
        self.best = ""
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._finished_steps = 0
        self._finished_here = 0  # by this process: what an earlier run has finished costs no time now
        self._running: dict[str, _Running] = {}

    def begin(self, name: str, start: int = 0, steps: int = 0) -> None:
        """Announce a unit that starts now; a `steps` of 0 for one that trains nothing."""
        self._running[name] = _Running(start, steps)

    def at(self, folder: Path, first: int, step: int) -> None:
        """Take note of where a unit is; on a terminal, rewrite the running line."""
        unit = self._running.get(folder.name)
        if unit is None or step == unit.step:
            return
        if unit.known is None:
            unit.known = first
            if first > unit.start:
                self._line(f"{folder.name}: goes on from step {first}")
        unit.step = step
        if self._stream.isatty():
            names = ", ".join(f"{name} step {one.step}" for name, one in self._running.items())
            best = f", best so far {self.best}" if self.best else ""
            self._write(f"\r\033[K{names}: {self.time_left()}{best}")

    def end(self, name: str, text: str = "") -> None:
        """Take a unit as finished; write a line about it, with the time left."""
        unit = self._running.pop(name)
        unit.step = max(unit.step, unit.start + unit.steps)
        self._finished_steps += unit.steps
        self._finished_here += unit.done_here
        if text:
            self._line(f"{name}: {text}; {self.time_left()}")

    def again(self, name: str, reason: str) -> None:
        """Say that a unit is to be started again, and why."""
        self._running.pop(name, None)
        self._line(f"{name}: {reason}")

    def skip(self, name: str, steps: int, reason: str) -> None:
        """Take the steps of a unit that need not be trained out of the plan, and say why."""
        self.total_steps -= steps
        self._line(f"{name}: {reason}")

    def time_left(self) -> str:
        """Return the share done and the time left at the pace so far."""
        done = self._finished_steps + sum(unit.done for unit in self._running.values())
        share = min(done / max(self.total_steps, 1), 1.0)
        if share == 1.0:
            return "training done"
        here = self._finished_here + sum(unit.done_here for unit in self._running.values())
        if not here:
            return f"{share:.0%} done"
        seconds = round((time.monotonic() - self._started) / here * max(self.total_steps - done, 0))
        return f"{share:.0%} done, about {seconds // 60}:{seconds % 60:02d} min left"

    def _line(self, text: str) -> None:
        start = "\r\033[K" if self._stream.isatty() else ""
        self._write(f"{start}{text}\n")

    @first_only
    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def write_progress(folder: Path, first: int, step: int) -> None:
    """Leave in a unit's folder how far it is, for the process that watches."""
    write_json(_file(folder), {"first": first, "step": step, "process": os.getpid()}, _FORMAT)


def read_progress(folder: Path) -> tuple[int, int] | None:
    """Return the first and the last step that `write_progress` has left; None if nothing."""
    if not _file(folder).is_file():
        return None
    content = read_json(_file(folder), _FORMAT, f"the unit's progress `{folder}`")
    return int(content["first"]), int(content["step"])


@first_only
def forget_progress(folder: Path) -> None:
    """Remove what an earlier run has left."""
    _file(folder).unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    return folder / "progress.json"
