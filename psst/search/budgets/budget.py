"""How much a search may cost, in time or in optimizer steps, and what its parts cost."""

import math
import re
from dataclasses import dataclass

from psst.search.settings import SearchSettings

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_FORWARD = 1 / 3
"""Of a step: a forward pass without gradients."""


@dataclass(frozen=True)
class Budget:
    """What a search may cost."""

    amount: float  # seconds, or optimizer steps
    in_steps: bool  # which of the two
    typed: str  # as the user typed it, for messages

    def text(self, amount: float) -> str:
        """An amount as people say it."""
        if self.in_steps:
            return f"{amount:.0f} steps"
        return f"{amount / 3600:.1f} h" if amount >= 5400 else f"{amount / 60:.1f} min"


def read_budget(
    time: str | None, steps: int | None, options: tuple[str, str] = ("--budget", "--budget-steps")
) -> Budget | None:
    """Read a time such as ``2h``, ``90m``, ``45s`` or ``1h30m``, or a number of steps; None if none is given.

    Raises:
        ValueError: Both are given, or one that is no budget.
    """
    typed = [
        f"{option}{value!r}" if option.endswith("=") else f"{option} {value}"
        for option, value in zip(options, (time, steps), strict=True)
    ]
    if time is not None and steps is not None:
        raise ValueError(f"`{typed[0]}` and `{typed[1]}` contradict each other; give one.")
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"`{typed[1]}` must be a positive whole number of optimizer steps.")
        return Budget(float(steps), True, typed[1])
    if time is None:
        return None
    found = re.fullmatch("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _SECONDS), time)
    parts = zip(found.groups("0"), _SECONDS.values(), strict=True) if found else ()
    seconds = sum(float(number) * unit for number, unit in parts)
    if not seconds:
        raise ValueError(f"`{typed[0]}` must be a time such as 2h, 90m, 45s or 1h30m.")
    return Budget(seconds, False, typed[0])


@dataclass(frozen=True)
class CostModel:
    """Of the parts of a search, in one currency: steps, or seconds."""

    step: float  # an optimizer step
    unit: float  # what each trained unit costs beside its steps: its start and its validation
    explored: float  # an average that is tried
    test: float  # the test of one model
    tangent: float = 0.0  # a tangent with its corrector, at most

    @classmethod
    def in_steps(cls, settings: SearchSettings, n_tasks: int = 2) -> "CostModel":
        """Training steps are counted, and the forward passes of averages, three of which are a step."""
        return cls(1.0, 0.0, _passes(settings), 0.0, _tangent_steps(settings, n_tasks))

    @classmethod
    def in_seconds(cls, settings: SearchSettings, step: float, unit: float, n_tasks: int = 2) -> "CostModel":
        """A time for each step and for each unit; a test is taken for a unit that trains nothing."""
        tangent = _tangent_steps(settings, n_tasks) * step + unit
        return cls(step, unit, _passes(settings) * step + unit, unit, tangent)


def _tangent_steps(settings: SearchSettings, n_tasks: int) -> float:
    """The most that a tangent costs, its corrector included, in steps; 0 where none is asked for."""
    if not settings.max_tangents:
        return 0.0
    from psst.search.tangents.explorer import planned_cost

    return math.ceil(planned_cost(settings.tangent, n_tasks))


def _passes(settings: SearchSettings) -> float:
    """Cost of an average in steps: its statistics renewed, and its losses beside those of its two parents."""
    return _FORWARD * (settings.recalibration_batches + 3 * settings.check_batches)
