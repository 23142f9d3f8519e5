"""How much a search may cost, in time or in optimizer steps, and what its parts cost."""

import math
import re
from dataclasses import dataclass

from psst.search.settings import SearchSettings

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_OPTIONS = ("--budget", "--budget-steps")
_FORWARD = 1 / 3
"""Of a step: a forward pass without gradients."""


@dataclass(frozen=True)
class Budget:
    """What a search may cost.

    Args:
        amount: Seconds, or optimizer steps.
        in_steps: Which of the two.
        typed: As the user typed it, for messages.
    """

    amount: float
    in_steps: bool
    typed: str

    @classmethod
    def of_steps(cls, steps: int, option: str = "--budget-steps") -> "Budget":
        """A number of optimizer steps.

        Raises:
            ValueError: It is no positive whole number.
        """
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"`{typed(option, steps)}` must be a positive whole number of optimizer steps.")
        return cls(float(steps), True, typed(option, steps))

    def text(self, amount: float) -> str:
        """An amount as people say it."""
        if self.in_steps:
            return f"{amount:.0f} steps"
        return f"{amount / 3600:.1f} h" if amount >= 5400 else f"{amount / 60:.1f} min"


def parse_budget(text: str, option: str = "--budget") -> Budget:
    """Read a time such as ``2h``, ``90m``, ``45s`` or ``1h30m``.

    Raises:
        ValueError: It is none.
    """
    found = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    in_order = [unit for _, unit in found] == sorted({unit for _, unit in found}, key="hms".index)
    if "".join(number + unit for number, unit in found) != text or not in_order or not seconds:
        raise ValueError(f"`{typed(option, text)}` must be a time such as 2h, 90m, 45s or 1h30m.")
    return Budget(seconds, False, typed(option, text))


def typed(option: str, value: object) -> str:
    """An option as the user typed it, on the command line or in Python."""
    return f"{option}{value!r}" if option.endswith("=") else f"{option} {value}"


def read_budget(time: str | None, steps: int | None, options: tuple[str, str] = _OPTIONS) -> Budget | None:
    """Read the one that is given; None if none is.

    Raises:
        ValueError: Both are given, or one that is no budget.
    """
    if time is not None and steps is not None:
        raise ValueError(
            f"`{typed(options[0], time)}` and `{typed(options[1], steps)}` contradict each other; give one."
        )
    if time is not None:
        return parse_budget(time, options[0])
    return None if steps is None else Budget.of_steps(steps, options[1])


@dataclass(frozen=True)
class CostModel:
    """Of the parts of a search, in one currency: steps, or seconds.

    Args:
        step: An optimizer step.
        unit: What each trained unit costs beside its steps: its start and its validation.
        explored: An average that is tried.
        test: The test of one model.
        tangent: A tangent with its corrector, at most.
    """

    step: float
    unit: float
    explored: float
    test: float
    tangent: float = 0.0

    @classmethod
    def in_steps(cls, settings: SearchSettings, n_tasks: int = 2) -> "CostModel":
        """Training steps are counted, and the forward passes of averages, three of which are a step."""
        return cls(1.0, 0.0, passes(settings), 0.0, _tangent_steps(settings, n_tasks))

    @classmethod
    def in_seconds(cls, settings: SearchSettings, step: float, unit: float, n_tasks: int = 2) -> "CostModel":
        """A time for each step and for each unit; a test is taken for a unit that trains nothing."""
        tangent = _tangent_steps(settings, n_tasks) * step + unit
        return cls(step, unit, passes(settings) * step + unit, unit, tangent)


def _tangent_steps(settings: SearchSettings, n_tasks: int) -> float:
    """The most that a tangent costs, its corrector included, in steps; 0 where none is asked for."""
    if not settings.max_tangents:
        return 0.0
    from psst.search.tangents.explorer import planned_cost

    return math.ceil(planned_cost(settings.tangent, n_tasks))


def passes(settings: SearchSettings) -> float:
    """Cost of an average in steps: its statistics renewed, and its losses beside those of its two parents."""
    return _FORWARD * (settings.recalibration_batches + 3 * settings.check_batches)
