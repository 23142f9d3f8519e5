"""What a unit keeps on disk, and what of it is of use to the unit when it is started again."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from psst.files import write_atomic
from psst.search.checkpointing import whole
from psst.search.protocols import Run
from psst.search.ranks import is_first
from psst.search.units import Unit

__all__ = ["UnitFolder"]


class UnitFolder:
    """``units/<name>``: config.yaml and unit.json say what is trained, the others how far it has come.

    ``last.ckpt`` is there while a unit trains; ``training.json`` is written when it has been trained, after
    ``model.ckpt`` and ``trajectory.npz``.

    Args:
        path: Of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.ckpt"
        self.last = path / "last.ckpt"
        self.trajectory = path / "trajectory.npz"
        self.progress = path / "progress.json"
        self._marker = path / "training.json"

    def open(self, unit: Unit, run: Run, start: Path | None = None) -> None:
        """Keep what a unit like this one has left here, started by the same run; else begin anew."""
        described = asdict(unit) | ({} if start is None else {"checkpoint": str(start)})
        description = json.dumps(described, indent=1)
        config = run.yaml()
        if read(self.path / "unit.json") == description and read(self.path / "config.yaml") == config:
            for left in self.path.glob(".*") if is_first() else ():  # unfinished writes
                left.unlink()
            return
        self.clear()
        if not is_first():
            return
        run.save(self.path / "config.yaml")
        write_atomic(self.path / "unit.json", description)

    def clear(self) -> None:
        """Begin with an empty folder."""
        if is_first():
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)

    @property
    def checkpoint(self) -> Path | None:
        """From where the training goes on; None if it begins."""
        return self.last if whole(self.last) else None

    @property
    def trained(self) -> dict[str, Any] | None:
        """What training has found; None if it has not come to its end."""
        text = read(self._marker) if whole(self.model) and whole(self.trajectory) else None
        return None if text is None else dict(json.loads(text))

    def finish(self, weights: Sequence[float], unreachable: bool, seconds: float) -> None:
        """Note that the model and its trajectory are there."""
        if not is_first():
            return
        found = {"weights": list(weights), "unreachable": unreachable, "seconds": seconds}
        write_atomic(self._marker, json.dumps(found, indent=1))
        self.last.unlink(missing_ok=True)


def read(path: Path) -> str | None:
    """The text of a file; None if there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None
