"""The default method: weights tilted towards a ray of loss space."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Decision, Method, StepState, open_rays
from psst.pareto.projection import constraints
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import nearest
from psst.pareto.subproblem import Subproblem, dead_zone


class Preference(Method):
    """Keep the losses in the sector of one ray: ``target = prior exp(tilt)``, then the nearest allowed ones.

    The tilt grows with the distance from the ray beyond a dead zone, lagging tasks gain weight. The feedback
    is negative, so that it also holds balance points of a concave front, from which any fixed weights run
    away.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
        min_main_share: Least weight of the main task, in [0, 1].
        rows: Further rows ``(A [r, m], b [r])`` with ``A weights >= b``.

    Raises:
        ValueError: If `min_main_share` is outside [0, 1].

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
        if not 0.0 <= min_main_share <= 1.0:
            raise ValueError(f"`min_main_share={min_main_share}` must be in [0, 1]; 0 asks for nothing.")
        self.rays = rays
        self.index = index
        self.min_main_share = min_main_share
        self.rows = rows
        self._loaded: Mapping[str, Any] | None = None
        self._subproblem: Subproblem | None = None

    def start(self, n_tasks: int) -> None:
        """Read and check the rays, `index` and `rows`; ValueError or FileNotFoundError if they do not fit."""
        self._ray_set = open_rays(self.rays, self.index, n_tasks)
        self._rows = checked_rows(self.rows, n_tasks, self.min_main_share)
        self._subproblem = Subproblem(self._ray_set.n_steps)
        if self._loaded is not None:
            self._subproblem.load_state_dict(self._loaded)

    def decide(self, state: StepState) -> Decision:
        """Target by the tilt, then the nearest weights that satisfy the constraints."""
        assert self._subproblem is not None
        rays, index, step = self._ray_set, self.index, state.step
        centered = centered_log(state.log_losses)
        unit = rays.distance(index, step)
        error = (centered - rays.at(step)[index]) / unit
        near = float(np.abs(error).max()) <= 0.5
        in_sector = near if len(rays) == 1 else rays.sector(centered, step) == index
        aim = self._subproblem.aim(error, rays.priors[index], dead_zone(rays.sd, unit), in_sector)
        solution = nearest(state.gramian, aim.target, self.min_main_share, self._rows, state.denoised)
        return Decision(solution.weights, solution.kkt_gap, aim.certificates, solution.status)

    def state_dict(self) -> dict[str, Any]:
        """Plain counters; the rays are an argument."""
        if self._subproblem is not None:
            return self._subproblem.state_dict()
        return {} if self._loaded is None else dict(self._loaded)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before or after `start`."""
        self._loaded = dict(state) or None
        if self._subproblem is not None and self._loaded is not None:
            self._subproblem.load_state_dict(self._loaded)


def checked_rows(
    rows: tuple[Sequence[Sequence[float]], Sequence[float]] | None, n_tasks: int, min_main_share: float
) -> tuple[Array, Array] | None:
    """The user's rows as arrays, known to leave some weights.

    Raises:
        ValueError: If their shapes are wrong, or no weights satisfy them.
    """
    if rows is None:
        return None
    matrix, bounds = (np.asarray(part, dtype=np.float64) for part in rows)
    if matrix.ndim != 2 or matrix.shape[1] != n_tasks or bounds.shape != matrix.shape[:1]:
        raise ValueError(
            f"`rows` must be (A [r, {n_tasks}], b [r]) for {n_tasks} tasks, got {list(matrix.shape)} and "
            f"{list(bounds.shape)}; give each row of A one bound."
        )
    normals, offsets = constraints(n_tasks, min_main_share, (matrix, bounds))
    found = linprog(
        np.zeros(n_tasks), A_ub=-normals, b_ub=-offsets, A_eq=np.ones((1, n_tasks)), b_eq=np.ones(1)
    )
    if not found.success:
        raise ValueError(
            f"`rows` and `min_main_share={min_main_share}` leave no weights with sum 1 and none negative; "
            "lower `min_main_share` or loosen `rows`."
        )
    return matrix, bounds
