"""Pareto MTL's own step, beside the default one."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import StepState
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import Decision, min_norm

_NEAR = 0.1  # share of the way from a border to the ray within which the border already counts


class MinNorm(RayMethod):
    """Shortest common descent direction of all losses inside the sector of one ray; restoration first.

    Outside the sector the violated borders alone are descended, inside it the losses and the borders nearby.
    Without rays there is no sector, and it is the multiple-gradient descent of Desideri (2012), exact.

    Args:
        rays: The rays, or the npz file that holds them; none by default.
        index: Which of them.

    Example:
        >>> method = MinNorm()
        >>> method.start(n_tasks=2)

    Source:
        Lin et al., Pareto MTL, 2019, section 4. Departures: sectors are the cells of the rays in log-ratios,
        the same for every method and free of any loss's scale, instead of cones of equal angle; running means
        of the losses decide which borders count; borders have unit length; weights are clipped at zero, so
        that no loss is raised on purpose, and brought to sum 1; restoration is given up where it comes no
        nearer (`ReachWatch`).
    """

    def __init__(self, rays: RaySet | str | Path | None = None, index: int = 0) -> None:
        super().__init__(rays, index)

    def start(self, n_tasks: int) -> None:
        """Read and check the rays and `index`; ValueError or FileNotFoundError if they do not fit."""
        if self.rays is not None:
            super().start(n_tasks)

    def decide(self, state: StepState) -> Decision:
        """Multiple-gradient descent, within the sector where there is one."""
        if self.rays is not None:
            return super().decide(state)
        assert state.gramian is not None
        return min_norm(state.gramian)

    def _solve(self, state: StepState, target: Array, centered: Array) -> Decision:
        """Restoration outside the sector, Pareto MTL's second phase inside it."""
        assert state.gramian is not None
        borders, margins = _sector_borders(self._ray_set.at(state.step), self.index, centered)
        violated, near = margins < 0.0, margins < _NEAR
        rows: Array | None = None
        if violated.any() and not self._given_up:
            rows = borders[violated]
        elif near.any() and not self._given_up:
            rows = np.vstack([np.eye(len(centered)), borders[near]])
        found = min_norm(state.gramian, rows)
        positive = np.maximum(found.weights, 0.0)
        total = float(positive.sum())
        shares = positive / total if total > 0.0 else np.full(len(positive), 1.0 / len(positive))
        return replace(found, weights=shares)


def _sector_borders(points: Array, index: int, centered: Array) -> tuple[Array, Array]:
    """Borders of a ray's Voronoi cell: ``G_j = (r_j - r_k) . (log L - midpoint of r_j and r_k) <= 0``.

    ``[r, m]`` rows: the gradient of G_j as a combination of the task gradients, ``(r_j - r_k) / L``, brought
    to unit length; and ``[r]`` margins: 1 on the ray, 0 on the border. Equal rays have no border.
    """
    outward = points - points[index]
    squares = np.square(outward).sum(axis=1)
    real = squares > 1e-18
    outward, squares = outward[real], squares[real]
    rows = outward * np.exp(centered.min() - centered)
    margins = 1.0 - 2.0 * (outward @ (centered - points[index])) / squares
    return rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), margins
