"""What every method sees and says in one step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psst.pareto.least_squares import Array
from psst.pareto.ray_set import RaySet


@dataclass(frozen=True, eq=False)
class StepState:
    """What is known before one optimizer step.

    Attributes:
        gramian: ``[m, m]`` float64, of this step's gradients of the raw losses on the shared parameters.
        losses: ``[m]`` raw losses of this step.
        log_losses: ``[m]`` log of their running mean.
        step: The trainer's global step, before the update.
        denoised: ``[m, m]`` Gramian whose signs mean something, where there is one: it turns on the conflict
            guard.
    """

    gramian: Array
    losses: Array
    log_losses: Array
    step: int
    denoised: Array | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights of one step, and the reasons.

    Attributes:
        weights: ``[m]`` float64, none negative, of sum 1.
        kkt_gap: Of the step's quadratic program, relative to the Gramian's trace.
        certificates: Scalars and ``[m]`` arrays to log.
        status: The solver's: ``"optimal"``, ``"relaxed"``, ``"inexact"`` or ``"skipped"``; see `Solution`.
    """

    weights: Array
    kkt_gap: float
    certificates: dict[str, float | Array] = field(default_factory=dict)
    status: str = "optimal"


class Method(ABC):
    """Decides the weights of the task gradients, step by step. Objectives are losses, the main one first.

    Attributes:
        needs_ratios: Whether it reads ratios of losses, and so needs positive ones. Where it does not,
            ``log_losses`` is NaN for a loss whose running mean is not positive.
        needs_denoised: Whether it decides by the denoised Gramian, once there is one.
    """

    needs_ratios: bool = True
    needs_denoised: bool = False

    @abstractmethod
    def start(self, n_tasks: int) -> None:
        """Check the arguments against the number of tasks, once, before the first step.

        Keeps any state that `load_state_dict` has brought.

        Raises:
            ValueError: If they do not fit.
        """

    @abstractmethod
    def decide(self, state: StepState) -> Decision:
        """The weights of one step."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values that must survive a resume."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most methods have no state
        """Take over what `state_dict` gave."""


def open_rays(rays: RaySet | str | Path, index: int, n_tasks: int) -> RaySet:
    """The rays themselves, read from disk if need be, checked against `index` and the number of tasks.

    Raises:
        FileNotFoundError: If `rays` is a path to no file.
        ValueError: If they hold no ray `index`, or are made for another number of tasks.
    """
    ray_set = rays if isinstance(rays, RaySet) else RaySet.load(rays)
    if not 0 <= index < len(ray_set):
        raise ValueError(
            f"`index={index}` must name one of {len(ray_set)} rays; choose 0 to {len(ray_set) - 1}."
        )
    if ray_set.n_tasks != n_tasks:
        raise ValueError(
            f"`rays` are made for {ray_set.n_tasks} tasks, the model has {n_tasks}; "
            "use rays measured with the same auxiliary tasks."
        )
    return ray_set
