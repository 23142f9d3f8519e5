"""Pieces of work that take no time, and nothing to import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Noting:
    """Notes in a file who has done it; may fail or be killed the first few times."""

    name: str
    folder: Path
    kills: int = 0
    failures: int = 0
    pause: float = 0.0
    steps: tuple[int, int] = (0, 0)

    def do(self, workshop):
        path = self.folder / self.name
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        tries = len(path.read_text().splitlines())
        time.sleep(self.pause)
        if tries <= self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if tries <= self.failures:
            raise ArithmeticError(f"`{self.name}` failed, as asked, in try {tries}.")
        return {"tries": tries, "workshop": workshop}


@dataclass(frozen=True)
class Named:
    """An opening."""

    name: str

    def __call__(self, report):
        return self.name
