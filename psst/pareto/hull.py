"""Shortest vectors in hulls of task gradients, on the m x m Gramian alone."""

import math

import numpy as np

from psst.pareto.least_squares import Array, factor, nonnegative
from psst.pareto.solver import Decision, scaled


def min_norm(gramian: Array, rows: Array | None = None, origin: Array | None = None) -> Decision:
    """The shortest vector in the convex hull of the rows' gradients: ``min ||y^T V J||, y >= 0, sum y = 1``.

    A row that only combines tasks without any gradient is dropped: it would answer "stay" for all the others.

    Args:
        gramian: ``[m, m]`` ``J J^T`` of the task gradients.
        rows: ``[r, m]`` signed combinations V; the m tasks themselves by default.
        origin: ``[m]``, of any sign: the vector is to be nearest to this mixture of the gradients instead.

    Returns:
        ``weights = V^T y``, which are unique where the task gradients are linearly independent (`y` is not).
        They sum to 1 for the default rows, and may be negative where a row is. The gap is
        ``||d||^2 - min_r <row r, d>`` of the direction ``d = (weights - origin)^T J`` and rows seen from the
        origin, relative to the largest ``||row||^2`` where that is above 1.

    Source:
        Desideri, C. R. Acad. Sci. Paris 350, 2012; for signed rows Lin et al., Pareto MTL, 2019, eq. 14.
        Departure: exact, by non-negative least squares, instead of a fixed number of Frank-Wolfe steps.
    """
    normalized = scaled(gramian)
    if normalized is None:
        return Decision(np.full(len(gramian), 1.0 / len(gramian)), status="skipped")
    rows = np.eye(len(gramian)) if rows is None else np.asarray(rows, dtype=np.float64)
    rows = rows[(rows[:, normalized.diagonal() > 0.0] != 0.0).any(axis=1)]
    if not len(rows):
        return Decision(np.full(len(gramian), 1.0 / len(gramian)), status="skipped")
    root = factor(normalized)
    points = root @ rows.T
    hull, gap = _shortest(points if origin is None else points - (root @ origin)[:, None])
    return Decision.certified(rows.T @ hull, gap)


def _shortest(points: Array) -> tuple[Array, float]:
    """Shares ``[r]`` of the shortest vector in the hull of the columns of ``[n, r]``, and its KKT gap."""
    longest = math.sqrt(float(np.square(points).sum(axis=0).max()))
    points = points / max(longest, 1.0)
    stacked = np.ones((len(points) + 1, points.shape[1]))
    stacked[:-1] = points
    hull = nonnegative(stacked, np.eye(len(stacked))[-1])
    hull = hull / hull.sum()
    found = points @ hull
    return hull, max(float(found @ found - (found @ points).min()), 0.0)
