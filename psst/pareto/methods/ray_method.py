"""What all methods that follow one ray share."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Method, StepState
from psst.pareto.ray_set import RaySet
from psst.pareto.solver import Decision
from psst.pareto.subproblem import Subproblem


class RayMethod(Method):
    """Measures the error against one ray, asks the subclass for weights, counts, and survives a resume.

    The certificates are those of `Subproblem.aim` (``tilt`` and ``target`` say what the ray asks for,
    whatever the method makes of it) and ``held``: 1 where a mean loss is not positive, has no logarithm, and
    the last weights are used again. Batches of one optimizer step share one aim.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
    """

    def __init__(self, rays: RaySet | str | Path | None, index: int) -> None:
        self.rays = rays
        self.index = index

    def start(self, n_tasks: int) -> None:
        """Read and check the rays and `index`; ValueError or FileNotFoundError if they do not fit."""
        assert self.rays is not None
        rays = self.rays if isinstance(self.rays, RaySet) else RaySet.load(self.rays)
        if not 0 <= self.index < len(rays):
            raise ValueError(
                f"`index={self.index}` must name one of {len(rays)} rays; choose 0 to {len(rays) - 1}."
            )
        if rays.n_tasks != n_tasks:
            raise ValueError(
                f"`rays` are made for {rays.n_tasks} tasks, the model has {n_tasks}; "
                "use rays measured with the same auxiliary tasks."
            )
        self._ray_set = rays
        self._last: Array = rays.priors[self.index]
        self._subproblem = Subproblem(self._last, rays.n_steps)
        self._step: int | None = None

    def decide(self, state: StepState) -> Decision:
        """Error, target by the tilt, then the method's own weights."""
        if not np.isfinite(state.log_losses).all():
            return Decision(self._last, 0.0, {"held": 1.0})
        centered = centered_log(state.log_losses)
        if state.step != self._step:
            self._step, (self._target, self._seen) = state.step, self._aim(centered, state.step)
        found = self._solve(state, self._target, centered)
        self._last = found.weights
        return replace(found, certificates={**self._seen, **found.certificates, "held": 0.0})

    def _aim(self, centered: Array, step: int) -> tuple[Array, dict[str, float | Array]]:
        rays, index = self._ray_set, self.index
        unit = rays.distance(index, step)
        error = (centered - rays.at(step)[index]) / unit
        near = float(np.abs(error).max()) <= 0.5
        in_sector = near if len(rays) == 1 else rays.sector(centered, step) == index
        return self._subproblem.aim(error, rays.sd / unit, in_sector)

    @abstractmethod
    def _solve(self, state: StepState, target: Array, centered: Array) -> Decision:
        """The step's weights: the ray asks for `target`, the losses are at `centered`, both ``[m]``."""

    @property
    def _given_up(self) -> bool:
        """Whether steering toward the ray has ended."""
        return self._subproblem.watch.unreachable

    def state_dict(self) -> dict[str, Any]:
        """Plain counters and the last weights; the rays are an argument."""
        if self.rays is None:
            return {}
        return {"last": self._last.tolist(), "subproblem": self._subproblem.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if self.rays is not None:
            self._last = np.array(state["last"])
            self._subproblem.load_state_dict(state["subproblem"])
