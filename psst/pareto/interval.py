"""The quadratic program of a step for two tasks, in closed form: an interval of the main task's weight."""

import math
from collections.abc import Iterable

_FLAT = 1e-14
"""Slope of a row of largest entry 1 below which the main weight does not matter to it."""
_ACTIVE = 1e-9
"""Slack of a row at which it counts as active."""

_Row = tuple[float, float, float]
"""``(p, q, b)``: ``p x + q (1 - x) >= b`` for the main weight x; of largest entry 1 in (p, q)."""


def nearest_in_interval(target: float, rows: Iterable[_Row], curvature: float) -> tuple[float, float] | None:
    """The x nearest to `target` that satisfies the rows, to 1e-12, and its gap; None if there is none.

    The gap is the residual of the optimality conditions: a slope is right where an active row stops the way
    down.

    Args:
        target: Where the slope of the objective is 0.
        rows: The constraints.
        curvature: Of the objective along x.
    """
    rows, least, most = list(rows), -math.inf, math.inf
    for p, q, bound in rows:
        slope, lack = p - q, bound - q
        if slope > _FLAT:
            least = max(least, lack / slope)
        elif slope < -_FLAT:
            most = min(most, lack / slope)
        elif lack > 1e-12:
            return None
    if least > most + 1e-12:
        return None
    weight = min(max(target, least), max(most, least))
    slope = curvature * (weight - target)
    violation, held = 0.0, slope == 0.0
    for p, q, bound in rows:
        slack = p * weight + q * (1.0 - weight) - bound
        violation = max(violation, -slack)
        held = held or (slack <= _ACTIVE and slope * (p - q) > 0.0)
    return weight, violation if held else violation + abs(slope)
