"""The quadratic programs of a Pareto step, on the m x m Gramian alone."""

from dataclasses import dataclass

import numpy as np

from psst.pareto.least_squares import Array, factor, identity, nonnegative
from psst.pareto.projection import Rows, constraints, nearest_feasible, optimality_gap

RIDGE = 1e-6
"""Ridge of ``nearest``, relative to the trace: decides between weights of one and the same direction."""
LARGEST_GAP = 1e-9
"""Above this gap, relative to the trace, the conflict rows count as infeasible."""


@dataclass(frozen=True)
class Solution:
    """Weights of the m task gradients in one step.

    Attributes:
        weights: ``[m]`` float64.
        kkt_gap: How far the optimality conditions are from holding, relative to the trace of the Gramian.
        status: ``"optimal"``; ``"relaxed"`` where the conflict rows were infeasible and dropped;
            ``"skipped"`` where the Gramian was zero or not finite, and `weights` are equal
            (`min_norm`) or those nearest to the target (`nearest`).
    """

    weights: Array
    kkt_gap: float
    status: str = "optimal"


def scaled(gramian: Array) -> Array | None:
    """The Gramian over its trace, symmetrized; ``None`` if it is zero or not finite.

    Args:
        gramian: ``[m, m]``.

    Raises:
        ValueError: If `gramian` is not a square matrix.
    """
    gramian = np.asarray(gramian, dtype=np.float64)
    if gramian.ndim != 2 or gramian.shape[0] != gramian.shape[1]:
        raise ValueError(
            f"`gramian` must be [m, m], got {list(gramian.shape)}; pass J J^T of the task gradients."
        )
    trace, total = float(gramian.trace()), float(gramian.sum())
    if not (0.0 < trace < np.inf and -np.inf < total < np.inf):
        return None
    normalized = gramian / trace
    symmetric: Array = 0.5 * (normalized + normalized.T)
    return symmetric


def min_norm(gramian: Array, rows: Array | None = None) -> Solution:
    """The shortest vector in the convex hull of the rows' gradients: ``min ||y^T V J||, y >= 0, sum y = 1``.

    A row that only combines tasks without any gradient is dropped: it would answer "stay" for all the others.

    Args:
        gramian: ``[m, m]`` ``J J^T`` of the task gradients.
        rows: ``[r, m]`` signed combinations V; the m tasks themselves by default.

    Returns:
        ``weights = V^T y``, which are unique where the task gradients are linearly independent (`y` is not).
        They sum to 1 for the default rows, and may be negative where a row is. The gap is
        ``||d||^2 - min_r <row r, d>`` of the direction ``d = weights^T J``.

    Source:
        Desideri, C. R. Acad. Sci. Paris 350, 2012; for signed rows Lin et al., Pareto MTL, 2019, eq. 14.
        Departure: exact, by non-negative least squares, instead of a fixed number of Frank-Wolfe steps.
    """
    normalized = scaled(gramian)
    if normalized is not None and rows is None and len(gramian) == 2:
        closed = _two_task_min_norm(normalized)
        if closed is not None:
            return closed
    rows = np.eye(len(gramian)) if rows is None else np.asarray(rows, dtype=np.float64)
    if normalized is not None:
        rows = rows[(rows[:, normalized.diagonal() > 0.0] != 0.0).any(axis=1)]
    if normalized is None or not len(rows):
        return Solution(np.full(len(gramian), 1.0 / len(gramian)), 0.0, "skipped")
    root = factor(normalized) @ rows.T
    target = np.zeros(len(root) + 1)
    target[-1] = 1.0
    hull = nonnegative(np.vstack([root, np.ones(len(rows))]), target)
    weights = rows.T @ (hull / hull.sum())
    pulled = normalized @ weights
    gap = float(weights @ pulled - (rows @ pulled).min())
    return Solution(weights, max(gap, 0.0))


def _two_task_min_norm(gramian: Array) -> Solution | None:
    """Closed form for two tasks; None where one of them has no gradient, which the general one drops."""
    (first, cross), (_, second) = gramian.tolist()
    if first == 0.0 or second == 0.0:
        return None
    spread = (second - cross) + (first - cross)
    share = 0.5 if spread <= 0.0 else min(max((second - cross) / spread, 0.0), 1.0)
    pulled = share * first + (1.0 - share) * cross, share * cross + (1.0 - share) * second
    gap = share * pulled[0] + (1.0 - share) * pulled[1] - min(pulled)
    return Solution(np.array([share, 1.0 - share]), max(gap, 0.0))


def nearest(
    gramian: Array,
    target: Array,
    min_main_share: float = 0.0,
    rows: Rows | None = None,
    conflict: Array | None = None,
) -> Solution:
    """The weights nearest to `target` in the norm of ``G + ridge`` that satisfy the constraints of the step.

    ``min (a - target)^T (G / trace + ridge I) (a - target)`` subject to ``sum a = 1``, ``a >= 0``,
    ``a_0 >= min_main_share``, ``A a >= b`` and ``C a >= 0``.

    Args:
        gramian: ``[m, m]``.
        target: ``[m]``, of sum 1.
        min_main_share: Least weight of task 0, in [0, 1].
        rows: ``(A [r, m], b [r])``.
        conflict: C, ``[m, m]``: a Gramian so denoised that its signs mean something. No task's loss then
            rises to first order. Where this leaves no weights at all, it is dropped and the status is
            ``"relaxed"``.

    Raises:
        ValueError: If `min_main_share` and `rows` leave no weights at all.
    """
    target = np.asarray(target, dtype=np.float64)
    normalized = scaled(gramian)
    skipped = normalized is None
    status = "skipped" if skipped else "optimal"
    if conflict is None and rows is None and target.min() >= 0.0 and target[0] >= min_main_share:
        return Solution(target.copy(), 0.0, status)
    metric = (np.zeros_like(gramian) if normalized is None else normalized) + RIDGE * identity(len(target))
    normals, offsets = constraints(len(target), min_main_share, rows)
    guard = None if conflict is None or skipped else scaled(conflict)
    if guard is not None:
        guarded = _guarded(metric, target, guard, normals, offsets)
        if guarded is not None:
            return guarded
        status = "relaxed"
    weights = nearest_feasible(metric, target, normals, offsets)
    if weights is None:
        raise ValueError(
            f"`rows` and `min_main_share={min_main_share}` leave no weights with sum 1 and none negative; "
            "lower `min_main_share` or loosen `rows`."
        )
    gap = 0.0 if skipped else optimality_gap(metric, target, weights, normals, offsets)
    return Solution(weights, gap, status)


def _guarded(metric: Array, target: Array, guard: Array, normals: Array, offsets: Array) -> Solution | None:
    """With the conflict rows, each of unit length; None if they are infeasible, or too nearly so."""
    lengths = np.sqrt(np.square(guard).sum(axis=1))
    rows = guard[lengths > 0.0] / lengths[lengths > 0.0, None]
    normals, offsets = np.concatenate([normals, rows]), np.concatenate([offsets, np.zeros(len(rows))])
    weights = nearest_feasible(metric, target, normals, offsets)
    if weights is None:
        return None
    gap = optimality_gap(metric, target, weights, normals, offsets)
    return Solution(weights, gap) if gap <= LARGEST_GAP else None
