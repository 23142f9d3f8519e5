"""What all methods that follow one ray share."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Decision, Method, StepState, open_rays
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import Solution
from psst.pareto.subproblem import Aim, Subproblem, dead_zone

HELD = 0.01
"""Largest change of a weight by the constraints that does not count as holding the target back."""


class RayMethod(Method):
    """Measures the error against one ray, asks the subclass for weights, counts, and survives a resume.

    The certificates are those of `Subproblem.aim` (``tilt`` and ``target`` say what the ray asks for,
    whatever the method makes of it), ``relaxed``, the steps so far whose constraints were infeasible and
    dropped, and ``unreachable_by_guard``: 1 where the ray was given up and the constraints had held back the
    target in at least half of the steps since the losses were last in the sector.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
    """

    def __init__(self, rays: RaySet | str | Path, index: int) -> None:
        self.rays = rays
        self.index = index
        self._loaded: Mapping[str, Any] | None = None
        self._subproblem: Subproblem | None = None
        self._relaxed = 0
        self._outside = 0
        self._held = 0

    def start(self, n_tasks: int) -> None:
        """Read and check the rays and `index`; ValueError or FileNotFoundError if they do not fit."""
        self._ray_set = open_rays(self.rays, self.index, n_tasks)
        self._subproblem = Subproblem(self._ray_set.n_steps)
        if self._loaded is not None:
            self._restore(self._loaded)

    def decide(self, state: StepState) -> Decision:
        """Error, target by the tilt, then the method's own weights."""
        centered = centered_log(state.log_losses)
        aim = self._aim(centered, state.step)
        given_up = bool(aim.certificates["unreachable"])
        solution, found = self._solve(state, aim, centered, given_up)
        self._relaxed += solution.status == "relaxed"
        guarded = given_up and self._outside > 0 and 2 * self._held >= self._outside
        counted = {"relaxed": float(self._relaxed), "unreachable_by_guard": float(guarded)}
        certificates = {**aim.certificates, **counted, **found}
        return Decision(solution.weights, solution.kkt_gap, certificates, solution.status)

    def _aim(self, centered: Array, step: int) -> Aim:
        assert self._subproblem is not None, "`start` comes before `decide`"
        rays, index = self._ray_set, self.index
        unit = rays.distance(index, step)
        error = (centered - rays.at(step)[index]) / unit
        near = float(np.abs(error).max()) <= 0.5
        in_sector = near if len(rays) == 1 else rays.sector(centered, step) == index
        return self._subproblem.aim(error, rays.priors[index], dead_zone(rays.sd, unit), in_sector)

    @abstractmethod
    def _solve(
        self, state: StepState, aim: Aim, centered: Array, given_up: bool
    ) -> tuple[Solution, dict[str, float | Array]]:
        """Weights of the step and the certificates of this method alone.

        Args:
            state: The step.
            aim: What the ray asks for.
            centered: ``[m]`` where the losses are, in centered logs.
            given_up: Whether steering towards the ray has ended.
        """

    def _note_held(self, weights: Array, aim: Aim) -> None:
        """Count the steps outside the sector, and those in which constraints changed the target."""
        if aim.certificates["in_sector"]:
            self._outside = self._held = 0
        elif not aim.certificates["unreachable"]:
            self._outside += 1
            self._held += bool(np.abs(weights - aim.target).max() > HELD)

    def state_dict(self) -> dict[str, Any]:
        """Plain counters; the rays are an argument."""
        if self._subproblem is None:
            return {} if self._loaded is None else dict(self._loaded)
        counters = {"relaxed": self._relaxed, "outside": self._outside, "held": self._held}
        return {**counters, "subproblem": self._subproblem.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before or after `start`."""
        self._loaded = dict(state) or None
        if self._subproblem is not None and self._loaded is not None:
            self._restore(self._loaded)

    def _restore(self, state: Mapping[str, Any]) -> None:
        assert self._subproblem is not None
        self._relaxed, self._outside = int(state["relaxed"]), int(state["outside"])
        self._held = int(state["held"])
        self._subproblem.load_state_dict(state["subproblem"])
