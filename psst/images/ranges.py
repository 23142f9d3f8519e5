"""Checks of the numbers that say how far an image may change."""

import math
from collections.abc import Sequence


def check_number(name: str, value: float, most: float = math.inf) -> float:
    """Return `value` if it lies in [0, `most`] and is finite.

    Raises:
        ValueError: it does not; `name` is the argument as the user typed it.
    """
    if not (0 <= value <= most and math.isfinite(value)):
        bounds = f"between 0 and {most:g}" if math.isfinite(most) else "at least 0 and finite"
        raise ValueError(f"`{name}={value}` must be {bounds}; 0 switches it off.")
    return value


def check_interval(name: str, value: Sequence[float], most: float = math.inf) -> tuple[float, float]:
    """Return `value` as a pair if it is two finite numbers above 0, the smaller first, at most `most`.

    Raises:
        ValueError: it is not; `name` is the argument as the user typed it.
    """
    pair = tuple(value)
    if len(pair) == 2 and 0 < pair[0] <= pair[1] <= most and math.isfinite(pair[1]):
        return pair
    bound = f", at most {most:g}" if math.isfinite(most) else ""
    raise ValueError(
        f"`{name}={list(value)}` must be two numbers above 0{bound}, the smaller first, such as "
        f"`{name}: [0.8, 1.0]`."
    )
