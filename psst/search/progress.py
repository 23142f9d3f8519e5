"""What a search shows while it runs: the units in training, the time left, the best so far."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from psst.files import write_atomic
from psst.search.ranks import first_only

Report = Callable[[Path, int, int], None]
"""Gets a unit's folder, the optimizer step with which its training began or went on, and where it is."""

_HEARTBEAT = 10.0  # seconds without a line after which one is written where there is no terminal


@dataclass
class _Running:
    """A unit at work."""

    steps: int  # it takes
    passes: float  # they cost
    last: int  # optimizer step at which it ends
    first: int | None = None  # where this process has first met it: what came before costs no time now
    step: int = 0  # at which it is

    def done(self, here: bool = False) -> float:
        """Passes that are done, or done since the search was started."""
        begin = self.last - self.steps if not here else (self.first if self.first is not None else self.last)
        return self.passes * max(self.step - begin, 0) / max(self.steps, 1)


class SearchProgress:
    """Counts passes over all units; one line a unit, a running line on a terminal, else one every 10 s.

    Args:
        total: Passes of the whole search.
        stream: Where it is told; stderr by default.
    """

    def __init__(self, total: float, stream: TextIO | None = None) -> None:
        self.total = total
        self.best = ""
        self._stream = stream or sys.stderr
        self._started = self._told = time.monotonic()
        self._finished = 0.0
        self._finished_here = 0.0  # what an earlier run has finished costs no time now
        self._running: dict[str, _Running] = {}
        self._closed = threading.Event()
        if not self._stream.isatty():
            threading.Thread(target=self._beat, daemon=True).start()

    @property
    def running(self) -> list[str]:
        """Names of the units at work."""
        return list(self._running)

    def begin(self, name: str, steps: int, passes: float, last: int) -> None:
        """Announce a unit that starts now; 0 `steps` for one that trains nothing."""
        self._running[name] = _Running(steps, passes, last)

    def at(self, folder: Path, first: int, step: int) -> None:
        """Take note of where a unit is; on a terminal, rewrite the running line."""
        unit = self._running.get(folder.name)
        if unit is None or step == unit.step:
            return
        if unit.first is None:
            unit.first = first
            if first > unit.last - unit.steps:
                self.say(f"{folder.name}: goes on from step {first}")
        unit.step = step
        if self._stream.isatty():
            self._write(f"\r\033[K{self._now()}")

    def end(self, name: str, text: str) -> None:
        """Take a unit as finished; write a line about it, with the time left."""
        unit = self._running.pop(name)
        unit.step = unit.last
        self._finished += unit.passes
        self._finished_here += unit.done(here=True)
        self.say(f"{name}: {text}; {self.time_left()}")

    def lost(self, name: str) -> None:
        """Say that a unit is to be started again."""
        self._running.pop(name, None)
        self.say(f"{name}: its process was lost; it goes on")

    def known(self, passes: float) -> None:
        """Count a unit that was finished earlier."""
        self._finished += passes

    def time_left(self) -> str:
        """Return the share done and the time left at the pace so far."""
        done = self._finished + sum(unit.done() for unit in self._running.values())
        share = min(done / max(self.total, 1e-9), 1.0)
        here = self._finished_here + sum(unit.done(here=True) for unit in self._running.values())
        if share > 0.995:
            return "nearly done"
        if not here:
            return f"{share:.0%} done"
        seconds = round((time.monotonic() - self._started) / here * max(self.total - done, 0))
        return f"{share:.0%} done, about {seconds // 60}:{seconds % 60:02d} min left"

    def say(self, text: str) -> None:
        """Write a line."""
        start = "\r\033[K" if self._stream.isatty() else ""
        self._write(f"{start}{text}\n")

    def close(self) -> None:
        """Stop telling."""
        self._closed.set()

    def _beat(self) -> None:
        while not self._closed.wait(1.0):
            if time.monotonic() - self._told >= _HEARTBEAT and self._running:
                self.say(self._now())

    def _now(self) -> str:
        names = ", ".join(f"{name} step {one.step}" for name, one in list(self._running.items()))
        best = f", best so far {self.best}" if self.best else ""
        return f"{names}: {self.time_left()}{best}"

    @first_only
    def _write(self, text: str) -> None:
        self._told = time.monotonic()
        self._stream.write(text)
        self._stream.flush()


def write_progress(folder: Path, first: int, step: int) -> None:
    """Leave in a unit's folder how far it is, for the process that watches."""
    write_atomic(_file(folder), json.dumps([first, step, os.getpid()]))


def read_progress(folder: Path) -> tuple[int, int] | None:
    """Return the first and the last step that `write_progress` has left; None if nothing."""
    try:
        first, step, _ = json.loads(_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(first), int(step)


@first_only
def forget_progress(folder: Path) -> None:
    """Remove what an earlier run has left."""
    _file(folder).unlink(missing_ok=True)


def seconds_text(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _file(folder: Path) -> Path:
    return folder / "progress.json"
