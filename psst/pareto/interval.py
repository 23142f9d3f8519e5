"""The quadratic program of a step for two tasks, in closed form: an interval of the main task's weight."""

import math
from collections.abc import Sequence

_FLAT = 1e-14
"""Slope of a row of largest entry 1 below which the main weight does not matter to it."""
_ACTIVE = 1e-9
"""Slack of a row at which it counts as active."""

_Row = tuple[float, float, float]
"""``(p, q, b)``: ``p x + q (1 - x) >= b`` for the main weight x; of largest entry 1 in (p, q)."""


def nearest_in_interval(target: float, rows: Sequence[_Row]) -> float | None:
    """The x nearest to `target` that satisfies the rows, to 1e-12; None if there is none."""
    least, most = -math.inf, math.inf
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
    return min(max(target, least), max(most, least))


def interval_gap(curvature: float, target: float, weight: float, rows: Sequence[_Row]) -> float:
    """Residual of the optimality conditions: a slope is right where an active row stops the way down.

    Args:
        curvature: Of the objective along the main weight.
        target: Where its slope is 0.
        weight: The answer x.
        rows: The constraints.
    """
    slope = curvature * (weight - target)
    violation, held = 0.0, slope == 0.0
    for p, q, bound in rows:
        slack = p * weight + q * (1.0 - weight) - bound
        violation = max(violation, -slack)
        held = held or (slack <= _ACTIVE and slope * (p - q) > 0.0)
    return violation if held else violation + abs(slope)
