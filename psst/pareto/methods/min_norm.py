"""Pareto MTL's own step, beside the default one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Decision, Method, StepState, open_rays
from psst.pareto.ray_set import RaySet
from psst.pareto.reach_watch import ReachWatch
from psst.pareto.solver import min_norm

NEAR = 0.1
"""Share of the way from a border to the ray within which the border already counts."""


class MinNorm(Method):
    """Shortest common descent direction of all losses inside the sector of one ray; restoration first.

    Outside the sector the violated borders alone are descended, inside it the losses and the borders nearby.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.

    Source:
        Lin et al., Pareto MTL, 2019, section 4. Departures: sectors are the cells of the rays in log-ratios,
        the same for every method and free of any loss's scale, instead of cones of equal angle; running means
        of the losses decide which borders count; borders have unit length; weights are clipped at zero, so
        that no loss is raised on purpose, and brought to sum 1; restoration is given up where it comes no
        nearer (`ReachWatch`).
    """

    def __init__(self, rays: RaySet | str | Path, index: int) -> None:
        self.rays = rays
        self.index = index
        self._watch: ReachWatch | None = None
        self._loaded: Mapping[str, Any] | None = None

    def start(self, n_tasks: int) -> None:
        """Read the rays; ValueError or FileNotFoundError if they or `index` do not fit."""
        self._ray_set = open_rays(self.rays, self.index, n_tasks)
        self._watch = ReachWatch(self._ray_set.n_steps)
        if self._loaded is not None:
            self._watch.load_state_dict(self._loaded)

    def decide(self, state: StepState) -> Decision:
        """Restoration outside the sector, Pareto MTL's second phase inside it."""
        assert self._watch is not None
        points, centered = self._ray_set.at(state.step), centered_log(state.log_losses)
        borders, margins = sector_borders(points, self.index, centered)
        violated, near = margins < 0.0, margins < NEAR
        error = (centered - points[self.index]) / self._ray_set.distance(self.index, state.step)
        distance = float(np.abs(error).max())
        given_up = self._watch.update(distance, not violated.any())
        rows: Array | None = None
        if violated.any() and not given_up:
            rows = borders[violated]
        elif near.any() and not given_up:
            rows = np.vstack([np.eye(len(centered)), borders[near]])
        solution = min_norm(state.gramian, rows)
        certificates: dict[str, float | Array] = {
            "error": error,
            "distance": distance,
            "nearest_distance": self._watch.nearest,
            "in_sector": float(not violated.any()),
            "unreachable": float(given_up),
        }
        return Decision(clipped(solution.weights), solution.kkt_gap, certificates, solution.status)

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the rays are an argument."""
        if self._watch is not None:
            return self._watch.state_dict()
        return {} if self._loaded is None else dict(self._loaded)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before or after `start`."""
        self._loaded = dict(state) or None
        if self._watch is not None and self._loaded is not None:
            self._watch.load_state_dict(self._loaded)


def sector_borders(points: Array, index: int, centered: Array) -> tuple[Array, Array]:
    """Borders of a ray's Voronoi cell: ``G_j = (r_j - r_k) . (log L - midpoint of r_j and r_k) <= 0``.

    Args:
        points: ``[K, m]`` rays in centered log coordinates.
        index: The cell.
        centered: ``[m]`` where the losses are.

    Returns:
        ``[r, m]`` rows: the gradient of G_j as a combination of the task gradients, ``(r_j - r_k) / L``,
        brought to unit length; and ``[r]`` margins: 1 on the ray, 0 on the border. Rays equal to ray k have
        no border.
    """
    outward = points - points[index]
    squares = np.square(outward).sum(axis=1)
    real = squares > 1e-18
    outward, squares = outward[real], squares[real]
    rows = outward * np.exp(centered.min() - centered)
    margins = 1.0 - 2.0 * (outward @ (centered - points[index])) / squares
    return rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), margins


def clipped(weights: Array) -> Array:
    """Weights without negative entries and of sum 1; equal ones where nothing is left."""
    positive = np.maximum(weights, 0.0)
    total = float(positive.sum())
    shares: Array = positive / total if total > 0.0 else np.full(len(weights), 1.0 / len(weights))
    return shares
