"""How far a unit in another process is: a small file in its folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from psst.files import write_atomic

__all__ = ["Report", "forget_progress", "read_progress", "write_progress"]

Report = Callable[[Path, int, int], None]
"""Gets a unit's folder, the optimizer step with which its training began or went on, and where it is."""

NAME = "progress.json"


def write_progress(folder: Path, first: int, step: int) -> None:
    """Leave it in the unit's folder."""
    write_atomic(folder / NAME, json.dumps({"first": first, "step": step, "process": os.getpid()}))


def read_progress(folder: Path) -> tuple[int, int] | None:
    """Return the first and the last step that `write_progress` has left; None if nothing."""
    path = folder / NAME
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return int(content["first"]), int(content["step"])


def forget_progress(folder: Path) -> None:
    """Remove what an earlier run has left."""
    (folder / NAME).unlink(missing_ok=True)
