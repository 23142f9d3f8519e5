"""What every method sees and says in one step."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.solver import Decision


@dataclass(frozen=True, eq=False)
class StepState:
    """What is known before one optimizer step.

    Attributes:
        gramian: ``[m, m]`` float64, of this step's gradients of the raw losses on the shared parameters; None
            for methods that need none.
        losses: ``[m]`` raw losses of this batch, NaN for a task that is absent from it.
        log_losses: ``[m]`` log of their running mean; NaN where that is not positive.
        step: The trainer's global step, before the update: the one clock. Batches of one step share it.
    """

    gramian: Array | None
    losses: Array
    log_losses: Array
    step: int


class Method(ABC):
    """Decides the weights of the task gradients, step by step. Objectives are losses, the main one first.

    Attributes:
        needs_gramian: Whether it reads the Gramian. Where it does not, a step costs one weighted pass.
        may_starve: Whether a weight near zero is worth a warning: nobody has asked for it.
    """

    needs_gramian: bool = True
    may_starve: bool = True

    def name_tasks(self, names: Sequence[str]) -> None:  # noqa: B027 - most methods know tasks by position
        """Learn what the tasks are called, before `start`; ValueError where that does not fit."""

    @abstractmethod
    def start(self, n_tasks: int) -> None:
        """Begin afresh, and check the arguments against the number of tasks; before all that follows.

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
        """Take over what `state_dict` gave, after `start`."""

    def described(self) -> str:
        """Class and arguments as text; state is restored only into a method of the same description."""
        kind = type(self)
        arguments = {name: getattr(self, name, None) for name in inspect.signature(kind).parameters}
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        return f"{kind.__module__}.{kind.__qualname__}({', '.join(f'{k}={v!r}' for k, v in plain.items())})"


def share(argument: str, value: object, way_out: str) -> None:
    """ValueError for what is no number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0.0 <= value <= 1.0:
        raise ValueError(f"`{argument}={value!r}` must be a number in [0, 1]; {way_out}.")
