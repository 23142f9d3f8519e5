"""What a run records of its losses, step by step."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.npz import read_arrays, write_arrays


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

    @property
    def centered(self) -> Array:
        """``[steps, m]`` sector coordinates."""
        return centered_log(self.log_losses)

    def save(self, path: str | Path) -> None:
        """Write an npz file, atomically."""
        arrays = {"log_losses": self.log_losses, "first_step": self.first_step, "weights": self.weights}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Trajectory":
        """Read what `save` wrote; ValueError or FileNotFoundError where it cannot."""
        arrays = read_arrays(path, ("log_losses", "first_step", "weights"), "trajectory")
        return cls(arrays["log_losses"], int(arrays["first_step"]), arrays["weights"])
