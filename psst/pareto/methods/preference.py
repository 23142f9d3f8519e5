"""The default method: weights tilted toward a ray of loss space."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import StepState, share
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import Decision, nearest


class Preference(RayMethod):
    """Keep the losses in the sector of one ray: ``target = prior exp(tilt)``, then the nearest allowed ones.

    The tilt grows with the distance from the ray beyond a dead zone, lagging tasks gain weight. The feedback
    is negative, so that it also holds balance points of a concave front, from which any fixed weights run
    away.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
        min_main_share: Least weight of the main task, in [0, 1].
        rows: Further rows ``(A [r, m], b [r])`` with ``A weights >= b``; an equality is two of them.

    Without rows no Gramian is needed, and with two tasks none ever is.

    Raises:
        ValueError: If `min_main_share` is outside [0, 1].

    Example:
        >>> rays = RaySet.from_losses([[1.0, 3.0], [1.0, 1.0], [3.0, 1.0]])
        >>> method = Preference(rays, index=0)
        >>> method.start(n_tasks=2)

    Source:
        Sectors after Lin et al., Pareto MTL, 2019. Departures: sectors live in log-ratios of losses, rays
        move with the training, and weights are tilted and never negative instead of the min-norm combination.
    """

    def __init__(
        self,
        rays: RaySet | str | Path,
        index: int,
        min_main_share: float = 0.0,
        rows: tuple[Sequence[Sequence[float]], Sequence[float]] | None = None,
    ) -> None:
        share("min_main_share", min_main_share, "0 asks for nothing")
        super().__init__(rays, index)
        self.min_main_share = min_main_share
        self.rows = rows

    def start(self, n_tasks: int) -> None:
        """Read and check the rays, `index` and `rows`; ValueError or FileNotFoundError if they do not fit."""
        super().start(n_tasks)
        self._rows = _checked_rows(self.rows, n_tasks, self.min_main_share)
        self.needs_gramian = n_tasks > 2 and (self._rows is not None or self.min_main_share > 0.0)

    def _solve(self, state: StepState, target: Array, centered: Array) -> Decision:
        """The nearest weights to the target that satisfy the constraints."""
        gramian = state.gramian if self.needs_gramian else np.eye(len(centered))  # any will do
        assert gramian is not None
        return nearest(gramian, target, self.min_main_share, self._rows)


def _checked_rows(
    rows: tuple[Sequence[Sequence[float]], Sequence[float]] | None, n_tasks: int, min_main_share: float
) -> tuple[Array, Array] | None:
    """The user's rows as arrays; ValueError where they are no finite rows that leave some weights."""
    if rows is None:
        return None
    matrix, bounds = (np.asarray(part, dtype=np.float64) for part in rows)
    if matrix.ndim != 2 or matrix.shape[1] != n_tasks or bounds.shape != matrix.shape[:1]:
        raise ValueError(
            f"`rows` must be (A [r, {n_tasks}], b [r]) for {n_tasks} tasks, got {list(matrix.shape)} and "
            f"{list(bounds.shape)}; give each row of A one bound."
        )
    if not (np.isfinite(matrix).all() and np.isfinite(bounds).all()):
        raise ValueError("`rows` must be finite; leave out a row that bounds nothing.")
    nearest(np.eye(n_tasks), np.full(n_tasks, 1.0 / n_tasks), min_main_share, (matrix, bounds))
    return matrix, bounds
