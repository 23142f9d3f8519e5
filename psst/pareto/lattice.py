"""Evenly spread points of the unit simplex, for rays without anchors."""

from itertools import combinations

import numpy as np

from psst.pareto.least_squares import Array


def das_dennis(n_tasks: int, divisions: int, inset: float = 0.1) -> Array:
    """Simplex lattice: every way to split ``divisions`` equal parts among the tasks, moved inwards.

    Args:
        n_tasks: Number m of objectives, 1 at least.
        divisions: Parts p, 1 at least.
        inset: Share of the way from each point to the center, in [0, 1]; 0 leaves points on the border, where
            a coordinate is 0.

    Returns:
        ``[K, m]``, none negative, each row of sum 1, ``K = binom(p + m - 1, m - 1)``, in lexicographic order.

    Raises:
        ValueError: If an argument is outside its range.

    Source:
        Das and Dennis, SIAM J. Optimization 8, 1998, section 3. Departure: moved inwards.
    """
    for name, value in (("n_tasks", n_tasks), ("divisions", divisions)):
        if value < 1:
            raise ValueError(f"`{name}={value}` must be positive; 4 divisions of 3 tasks give 15 rays.")
    if not 0.0 <= inset <= 1.0:
        raise ValueError(f"`inset={inset}` must be in [0, 1]; 0.1 keeps off the border.")
    places = divisions + n_tasks - 1
    bars = np.array(list(combinations(range(places), n_tasks - 1)), dtype=np.float64)
    left = np.full((len(bars), 1), -1.0)
    points = np.diff(np.hstack([left, bars, left + 1.0 + places]), axis=1) - 1.0
    moved: Array = (1.0 - inset) * points / divisions + inset / n_tasks
    return moved
