"""What a search shows while it runs: the units in training, the time left, the best so far."""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from psst.files import write_atomic
from psst.search.ranks import first_only
from psst.search.record import unit_path
from psst.search.unit import Unit

_PAUSE = 0.3  # seconds between two looks at what the units have left
_HEARTBEAT = 10.0  # seconds without a line after which one is written where there is no terminal


@dataclass
class _Running:
    """A unit at work, in this process or another."""

    unit: Unit
    first: int  # where its training began or went on
    step: int  # at which it is

    def passes(self, until: int) -> float:
        """What its training costs from where it began or went on until a step; an average has no steps."""
        unit = self.unit
        return unit.passes * (until - self.first) / unit.steps if unit.steps else unit.passes


class SearchProgress:
    """Counts passes over all units; one line a unit, a running line on a terminal, else one every 10 s."""

    def __init__(self, total: float, folder: Path, stream: TextIO | None = None) -> None:
        self.total = total
        self.folder = folder
        self._stream = stream or sys.stderr
        self._started = self._told = time.monotonic()
        self._finished = 0.0
        self._running: dict[str, _Running] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self, unit: Unit) -> None:
        """Announce a unit that starts now, and forget how far an earlier run has come with it."""
        first_only(_file(unit_path(self.folder, unit.name)).unlink)(missing_ok=True)
        self._running[unit.name] = _Running(unit, unit.start, unit.start)

    def end(self, unit: Unit, text: str) -> None:
        """Take a unit as finished; write a line about it, with the time left."""
        self._finished += self._running.pop(unit.name).passes(unit.stop)
        self.say(f"{unit.name}: {text}; {self.time_left()}")

    def lost(self, unit: Unit) -> None:
        """Say that a unit is to be started again."""
        self._running.pop(unit.name, None)
        self.say(f"{unit.name}: its process was lost; it goes on")

    def known(self, unit: Unit) -> None:
        """Leave out what was finished earlier."""
        self.total -= unit.passes
        self.say(f"{unit.name}: finished earlier")

    def time_left(self) -> str:
        """Return the share done of what was left at the start, and the time left at the pace since then."""
        at_work = [one for one in list(self._running.values()) if one.unit.steps]
        done = self._finished + sum(one.passes(one.step) for one in at_work)
        share = min(done / max(self.total, 1e-9), 1.0)
        if share > 0.995:
            return "nearly done"
        if not done:
            return "0% done"
        seconds = round((time.monotonic() - self._started) / done * (self.total - done))
        return f"{share:.0%} done, about {seconds // 60}:{seconds % 60:02d} min left"

    @first_only
    def say(self, text: str, end: str = "\n") -> None:
        """Write a line, or on a terminal rewrite the last one."""
        start = "\r\033[K" if self._stream.isatty() else ""
        self._told = time.monotonic()
        self._stream.write(f"{start}{text}{end}")
        self._stream.flush()

    def close(self) -> None:
        """Stop telling."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_PAUSE):
            news = [self._look(one) for one in list(self._running.values())]
            if self._stream.isatty() and any(news):
                self.say(self._now(), end="")
            elif self._running and time.monotonic() - self._told >= _HEARTBEAT:
                self.say(self._now())

    def _look(self, one: _Running) -> bool:
        """Read how far a unit is; return whether that is news."""
        name = one.unit.name
        steps = _read_progress(unit_path(self.folder, name))
        if steps is None or steps == (one.first, one.step):
            return False
        if steps[0] > one.first:
            self.total -= one.passes(steps[0])
            one.first = steps[0]
            self.say(f"{name}: goes on from step {one.first}")
        one.step = steps[1]
        return True

    def _now(self) -> str:
        names = ", ".join(f"{name} step {one.step}" for name, one in list(self._running.items()))
        return f"{names}: {self.time_left()}"


@first_only
def write_progress(folder: Path, first: int, step: int) -> None:
    """Leave in a unit's folder where it began or went on, how far it is, and in which process."""
    write_atomic(_file(folder), json.dumps([first, step, os.getpid()]))


def _read_progress(folder: Path) -> tuple[int, int] | None:
    """Return the first and the last step that `write_progress` has left; None if nothing."""
    try:
        first, step, _ = json.loads(_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(first), int(step)


def seconds_text(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _file(folder: Path) -> Path:
    return folder / "progress.json"
