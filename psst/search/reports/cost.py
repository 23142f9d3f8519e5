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
    """Of some units together."""

    units: int = 0  # how many
    steps: float = 0.0  # optimizer steps; the products of a tangent in as many as take the same time
    seconds: float = 0.0  # of training

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


def described(units: Mapping[str, Mapping[str, Any]], max_steps: int) -> dict[str, Any]:
    """Cost as plain values: by kind, of the search without its baselines, and of everything.

    Args:
        units: As the manifest holds them; rejected explorations count too.
        max_steps: Optimizer steps of a full training, T. Its seconds are the median of those from scratch.
    """
    costs: dict[str, _Cost] = {}
    for unit in units.values():
        name = _KINDS[str(unit.get("way", unit["kind"]))]
        one = _Cost(1, float(unit.get("steps", 0)), float(unit.get("seconds", 0.0)))
        costs[name] = costs.get(name, _Cost()) + one
    whole = [
        float(unit["seconds"])
        for unit in units.values()
        if unit["kind"] == "baseline" and unit.get("steps") == max_steps
    ]
    full = median(whole) if whole else None
    search = sum((cost for name, cost in costs.items() if name != _BASELINES), _Cost())
    kinds = [name for name in dict.fromkeys(_KINDS.values()) if name in costs]
    return {
        "by_kind": {name: costs[name].described(max_steps, full) for name in kinds},
        "search": search.described(max_steps, full),
        "all": sum(costs.values(), _Cost()).described(max_steps, full),
    }
