"""What a search has cost, by kind of unit: optimizer steps, seconds, and trainings of full length."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

_BASELINES = "baselines"
_KINDS = {
    "warm": "warm start",
    "anchor": "anchors",
    "rung": "subproblems",  # a part of one
    "subproblem": "subproblems",
    "refined": "refined rays",
    "explored": "averages",
    "tangent": "tangents",
    "baseline": _BASELINES,
}


@dataclass(frozen=True)
class _Cost:
    """Of some units together.

    Attributes:
        units: How many.
        steps: Forward and backward passes over one batch for all tasks. Optimizer steps, and what the second
            derivatives of a tangent cost besides, in as many steps as take the same time.
        seconds: Of training.
    """

    units: int = 0
    steps: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "_Cost") -> "_Cost":
        return _Cost(self.units + other.units, self.steps + other.steps, self.seconds + other.seconds)

    def described(self, max_steps: int, full_seconds: float | None) -> dict[str, float]:
        """Plain values, with the multiples of a training of full length, as far as it is known."""
        numbers: dict[str, float] = asdict(self)
        if max_steps:
            numbers["trainings"] = self.steps / max_steps
        if full_seconds:
            numbers["trainings_in_seconds"] = self.seconds / full_seconds
        return numbers


def account(units: Mapping[str, Mapping[str, Any]]) -> dict[str, _Cost]:
    """Sum the cost of units, as the manifest holds them, by kind; rejected explorations count too."""
    costs: dict[str, _Cost] = {}
    for unit in units.values():
        kind = str(unit.get("way", unit["kind"]))
        name = _KINDS.get(kind, kind)
        one = _Cost(1, float(unit.get("steps", 0)), float(unit.get("seconds", 0.0)))
        costs[name] = costs.get(name, _Cost()) + one
    order = list(dict.fromkeys(_KINDS.values()))
    return dict(sorted(costs.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99))


def total(costs: Mapping[str, _Cost], baselines: bool = True) -> _Cost:
    """Sum over the kinds, with or without the baselines."""
    return sum((cost for name, cost in costs.items() if baselines or name != _BASELINES), _Cost())


def full_seconds(units: Mapping[str, Mapping[str, Any]], max_steps: int) -> float | None:
    """Seconds of a training of full length: the median of those from scratch; None if there are none."""
    seconds = [
        float(unit["seconds"])
        for unit in units.values()
        if unit.get("kind") == "baseline" and unit.get("steps") == max_steps
    ]
    return median(seconds) if seconds else None


def described(units: Mapping[str, Mapping[str, Any]], max_steps: int) -> dict[str, Any]:
    """All of it as plain values: by kind, the search without its baselines, and everything."""
    costs, full = account(units), full_seconds(units, max_steps)
    return {
        "by_kind": {name: cost.described(max_steps, full) for name, cost in costs.items()},
        "search": total(costs, baselines=False).described(max_steps, full),
        "all": total(costs).described(max_steps, full),
    }
