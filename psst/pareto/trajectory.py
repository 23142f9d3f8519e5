"""What a run records of its losses, step by step."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from psst.files import read_npz, write_npz
from psst.pareto.least_squares import Array

_VERSION = 1
_FIELDS = ("log_losses", "first_step", "weights")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Log of the averaged losses of one run with fixed weights.

    Attributes:
        log_losses: ``[steps, m]``; row s is what step ``first_step + s`` of the optimizer started from.
        first_step: Step of the first row.
        weights: ``[m]`` weights of the tasks in that run, of sum 1.

    Raises:
        ValueError: If the shapes do not fit together or a value is not finite.
    """

    log_losses: Array
    first_step: int
    weights: Array

    def __post_init__(self) -> None:
        log_losses = np.array(self.log_losses, dtype=np.float64)
        weights = np.array(self.weights, dtype=np.float64)
        if log_losses.ndim != 2 or weights.shape != log_losses.shape[1:] or not len(log_losses):
            raise ValueError(
                f"`log_losses` must be [steps, m] and `weights` [m], got {list(log_losses.shape)} and "
                f"{list(weights.shape)}; record at least one step."
            )
        if not np.isfinite(log_losses).all() or not (weights >= 0.0).all() or not weights.sum() > 0.0:
            raise ValueError(
                f"`log_losses` must be finite and `weights` not negative, got weights {weights.tolist()}; "
                "a run that has diverged gives no ray."
            )
        object.__setattr__(self, "log_losses", log_losses)
        object.__setattr__(self, "weights", weights / weights.sum())

    def save(self, path: str | Path) -> None:
        """Write an npz file, atomically."""
        write_npz(path, {name: getattr(self, name) for name in _FIELDS}, _VERSION)

    @classmethod
    def load(cls, path: str | Path) -> "Trajectory":
        """Read what `save` wrote; ValueError or FileNotFoundError where it cannot."""
        arrays = read_npz(path, _VERSION, f"`trajectory={path}`", "give the .npz of a run", _FIELDS)
        return cls(**{**arrays, "first_step": int(arrays["first_step"])})


class Track:
    """Rows of numbers, one an optimizer step from `first_step` on, at eight bytes a number."""

    def __init__(self, first_step: int = 0) -> None:
        self.first_step = first_step
        self._numbers = array("d")
        self._width = 1
        self._step: int | None = None

    def put(self, step: int, row: Array) -> None:
        """The row of a step; of two for one step the second counts."""
        if step == self._step:
            del self._numbers[-self._width :]
        self._step, self._width = step, len(row)
        self._numbers.extend(row.tolist())

    @property
    def rows(self) -> Array:
        """``[steps, n]``; ``[0, 1]`` before the first step."""
        return np.array(self._numbers).reshape(-1, self._width)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, and the rows."""
        return {"first_step": self.first_step, "step": self._step, "rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another track stopped."""
        rows = np.asarray(state["rows"])  # an array, or a tensor of a checkpoint
        self._numbers, self._width = array("d", rows.ravel().tolist()), rows.shape[1]
        self.first_step, self._step = int(state["first_step"]), state["step"]
