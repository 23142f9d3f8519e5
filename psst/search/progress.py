"""What a search shows while it runs: the current unit, the time left, the best so far."""

import sys
import time
from typing import Any, TextIO

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["SearchProgress"]


class SearchProgress(Callback):
    """Counts optimizer steps over all units; one line a unit, and a running line on a terminal.

    Args:
        total_steps: Expected cost of the whole search in optimizer steps; may be revised.
        stream: Where to write; standard error by default.
    """

    def __init__(self, total_steps: int, stream: TextIO | None = None) -> None:
        self.total_steps = total_steps
        self.done_steps = 0
        self.best = ""
        self._stream = stream or sys.stderr
        self._unit = ""
        self._started = time.monotonic()
        self._trained_steps = 0  # by this process: finished units of an earlier run cost no time now
        self._shown = 0.0

    def unit(self, name: str) -> None:
        """Announce the unit that starts now."""
        self._unit = name

    def skip(self, name: str, steps: int, reason: str) -> None:
        """Take the steps of a unit that need not be trained out of the plan, and say why."""
        self.total_steps -= steps
        self._line(f"{name}: {reason}")

    def report(self, text: str) -> None:
        """Write a line about the unit that has just ended, with the time left."""
        self._line(f"{self._unit}: {text}; {self.time_left()}")

    def time_left(self) -> str:
        """Return the share done and the time left at the pace so far."""
        share = min(self.done_steps / max(self.total_steps, 1), 1.0)
        if share == 1.0:
            return "training done"
        if not self._trained_steps:
            return f"{share:.0%} done"
        pace = (time.monotonic() - self._started) / self._trained_steps
        seconds = round(pace * max(self.total_steps - self.done_steps, 0))
        return f"{share:.0%} done, about {seconds // 60}:{seconds % 60:02d} min left"

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Advance; on a terminal, rewrite the running line a few times a second."""
        self.done_steps += 1
        self._trained_steps += 1
        now = time.monotonic()
        if self._stream.isatty() and now - self._shown > 0.3:
            self._shown = now
            best = f", best so far {self.best}" if self.best else ""
            self._stream.write(f"\r\033[K{self._unit} step {trainer.global_step}: {self.time_left()}{best}")
            self._stream.flush()

    def _line(self, text: str) -> None:
        start = "\r\033[K" if self._stream.isatty() else ""
        self._stream.write(f"{start}{text}\n")
        self._stream.flush()
