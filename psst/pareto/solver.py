"""The quadratic program of a Pareto step, on the m x m Gramian alone, and what every program answers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from psst.pareto.least_squares import Array, factor, identity
from psst.pareto.projection import Rows, constraints, nearest_feasible, optimality_gap

RIDGE = 1e-6
"""Ridge of ``nearest``, relative to the trace: decides between weights of one and the same direction."""
_LARGEST_GAP = 1e-9
"""Largest gap, relative to the trace, that counts as solved."""

_LOOSENING = 0.5 * _LARGEST_GAP
"""How far a second attempt loosens rows of largest entry 1."""
_FLAT = 1e-14
"""Slope of a row of largest entry 1 below which the main weight does not matter to it."""
_ACTIVE = 1e-9
"""Slack of a row at which it counts as active."""

_Row = tuple[float, float, float]
"""``(p, q, b)``: ``p x + q (1 - x) >= b`` for the main weight x; of largest entry 1 in (p, q)."""


@dataclass(frozen=True)
class Solution:
    """Weights of the m task gradients in one step.

    Attributes:
        weights: ``[m]`` float64.
        kkt_gap: How far the optimality conditions are from holding, relative to the trace of the Gramian (of
            its positive semi-definite part, where rounding has made it indefinite).
        status: ``"optimal"``, with a gap of 1e-9 at most; ``"inexact"`` where constraints are so nearly
            contradictory that the gap stays above; ``"skipped"`` where the Gramian was zero or not finite,
            and `weights` are equal (`min_norm`) or those nearest to the target (`nearest`).
    """

    weights: Array
    kkt_gap: float
    status: str = "optimal"

    @classmethod
    def certified(cls, weights: Array, gap: float, status: str = "optimal") -> "Solution":
        """A solution that is named inexact where its gap says so."""
        return cls(weights, gap, status if gap <= _LARGEST_GAP else "inexact")


def scaled(gramian: Array) -> Array | None:
    """The Gramian over its trace, symmetrized; ``None`` if it is not finite or its trace not positive.

    Args:
        gramian: ``[m, m]``. Entries beyond the Cauchy-Schwarz inequality are brought back to it.

    Raises:
        ValueError: If `gramian` is not a square matrix.
    """
    gramian = np.asarray(gramian, dtype=np.float64)
    if gramian.ndim != 2 or gramian.shape[0] != gramian.shape[1]:
        raise ValueError(
            f"`gramian` must be [m, m], got {list(gramian.shape)}; pass J J^T of the task gradients."
        )
    largest = float(np.abs(gramian).max())
    if not 0.0 < largest < np.inf:
        return None
    gramian = gramian / largest
    if gramian.trace() <= 0.0:
        return None
    lengths = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
    limits = lengths[:, None] * lengths
    within = np.minimum(np.maximum(0.5 * (gramian + gramian.T), -limits), limits)
    normalized: Array = within / within.trace()
    return normalized


def nearest(gramian: Array, target: Array, min_main_share: float = 0.0, rows: Rows | None = None) -> Solution:
    """The weights nearest to `target` in the norm of ``G + ridge`` that satisfy the constraints of the step.

    ``min (a - target)^T (G / trace + ridge I) (a - target)`` subject to ``sum a = 1``, ``a >= 0``,
    ``a_0 >= min_main_share`` and ``A a >= b``. For m = 2 every norm agrees on what is nearest.

    Args:
        gramian: ``[m, m]``.
        target: ``[m]``, of sum 1.
        min_main_share: Least weight of task 0, in [0, 1].
        rows: ``(A [r, m], b [r])``, finite.

    Raises:
        ValueError: If `min_main_share` and `rows` leave no weights at all.
    """
    target = np.asarray(target, dtype=np.float64)
    normalized = scaled(gramian)
    skipped = normalized is None
    if rows is None and target.min() >= 0.0 and target[0] >= min_main_share:
        return Solution(target.copy(), 0.0, "skipped" if skipped else "optimal")
    solve = _of_two if len(target) == 2 else _of_many
    solution = solve(normalized, target, min_main_share, rows)
    if solution is None:
        raise ValueError(
            f"`rows` and `min_main_share={min_main_share}` leave no weights with sum 1 and none negative; "
            "lower `min_main_share` or loosen `rows`."
        )
    return Solution(solution.weights, solution.kkt_gap, "skipped") if skipped else solution


def _of_two(normalized: Array | None, target: Array, least: float, rows: Rows | None) -> Solution | None:
    """Closed form: an interval of the main task's weight."""
    curvature = 2.0 * RIDGE
    if normalized is not None:
        (first, cross), (_, second) = normalized.tolist()
        curvature += max(first - 2.0 * cross + second, 0.0)
    normals, offsets = constraints(2, least, rows)
    limits = [(p, q, bound) for (p, q), bound in zip(normals.tolist(), offsets.tolist(), strict=True)]
    found = _nearest_in_interval(float(target[0]), limits, curvature)
    return None if found is None else Solution.certified(np.array([found[0], 1.0 - found[0]]), found[1])


def _of_many(normalized: Array | None, target: Array, least: float, rows: Rows | None) -> Solution | None:
    """The general case; None where no weights satisfy the rows.

    Where the gap stays open, rows nearly contradict each other: another attempt loosens all but the signs.
    """
    normals, offsets = constraints(len(target), least, rows)
    metric = _metric(normalized, len(target))
    attempts: list[Solution] = []
    for loosening in (0.0, _LOOSENING):
        bounds = offsets.copy()
        bounds[len(target) :] -= loosening
        found = nearest_feasible(metric, target, normals, bounds)
        if found is None:
            continue
        weights, multipliers = found
        gap = optimality_gap(metric, target, weights, normals, offsets, multipliers)
        if gap > _LARGEST_GAP:
            gap = min(gap, optimality_gap(metric, target, weights, normals, offsets))
        attempts.append(Solution.certified(weights, gap))
        if attempts[-1].status == "optimal":
            break
    return min(attempts, key=lambda solution: solution.kkt_gap, default=None)


def _metric(normalized: Array | None, n_tasks: int) -> Array:
    """The ridge on top of the Gramian, or of its positive semi-definite part."""
    ridge = RIDGE * identity(n_tasks)
    if normalized is None:
        return ridge
    metric: Array = normalized + ridge
    try:
        np.linalg.cholesky(metric)
    except np.linalg.LinAlgError:
        root = factor(normalized)
        metric = root.T @ root + ridge
    return metric


def _nearest_in_interval(target: float, rows: Iterable[_Row], curvature: float) -> tuple[float, float] | None:
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
