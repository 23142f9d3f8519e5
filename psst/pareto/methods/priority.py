"""Main task first: its own direction, but for the progress the others are guaranteed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto.cones import main_first
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import StepState
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import Solution, scaled
from psst.pareto.subproblem import Aim

DECAY = 0.999
"""Share kept per step by the running mean of the squared gradient lengths."""


class Priority(RayMethod):
    """Follow the main gradient as closely as the guaranteed progress of the auxiliary tasks allows.

    With unit gradients u (by running means of their lengths): the nearest d to u_main with
    ``<u_j, d> >= fraction_j ||u_j||^2`` for every auxiliary task j. The ray decides how much is guaranteed:
    ``fraction_j = clip(fraction exp(tilt_j - tilt_main), 0, 1)``, so that lagging tasks get more. The
    certificate ``fraction`` holds them (1 for the main task). Guarantees that contradict each other are
    dropped for the step, which counts as ``relaxed``, and all weight is on the main task; so it is near the
    front, where no loss can fall without another rising: the ray is no place this method comes to rest at.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
        fraction: Guaranteed share of the first-order progress of a step along a task's own unit gradient, in
            [0, 1], where no task lags.

    Raises:
        ValueError: If `fraction` is outside [0, 1].

    Source:
        Priority-Constrained Descent, arXiv 2606.29521, as TorchJD 0.18 states it. Departures: fractions
        follow the ray; weights of sum 1 instead of the length of the main gradient; no constant added to
        squared lengths, so that no scale matters; solved exactly by non-negative least squares.
    """

    def __init__(self, rays: RaySet | str | Path, index: int, fraction: float = 0.02) -> None:
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"`fraction={fraction}` must be in [0, 1]; 0 only keeps losses from rising.")
        super().__init__(rays, index)
        self.fraction = fraction
        self._squares: Array | None = None

    def _solve(
        self, state: StepState, aim: Aim, centered: Array, given_up: bool
    ) -> tuple[Solution, dict[str, float | Array]]:
        """The nearest direction to the main task's, by weights."""
        tilts = np.asarray(aim.certificates["tilt"])
        fractions = np.clip(self.fraction * np.exp(tilts - tilts[0]), 0.0, 1.0)
        fractions[0] = 1.0
        found: dict[str, float | Array] = {"fraction": fractions}
        if scaled(state.gramian) is None:
            return Solution(np.eye(len(tilts))[0], 0.0, "skipped"), found
        squares = np.maximum(np.diagonal(state.gramian), 0.0)
        before = np.zeros(len(squares)) if self._squares is None else self._squares
        self._squares = DECAY * before + (1.0 - DECAY) * squares  # the bias of the start is common to all
        return main_first(state.gramian, np.sqrt(self._squares), fractions[1:]), found

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        state = super().state_dict()
        if state and self._subproblem is not None:
            state["squares"] = None if self._squares is None else [float(value) for value in self._squares]
        return state

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        squares = state["squares"]
        self._squares = None if squares is None else np.asarray(squares, dtype=np.float64)
