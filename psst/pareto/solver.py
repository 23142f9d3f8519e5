"""The quadratic programs of a Pareto step, on the m x m Gramian alone, and what each of them answers."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import quadprog

from psst.pareto.least_squares import Array, factor, nonnegative

RIDGE = 1e-6  # of `nearest`, relative to the trace: decides between weights of one and the same direction
_LARGEST_GAP = 1e-9  # largest gap, relative to the trace, that counts as solved
_LOOSENING = 0.5 * _LARGEST_GAP  # how far a second attempt loosens rows of largest entry 1
_ACTIVE = 1e-9  # slack of a row of largest entry 1, at which it counts as active
_FLAT, _EMPTY = 1e-14, 1e-12
"""Slope below which the main one of two weights does not matter to a row; what rounding may take from it."""

Rows = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights of the m task gradients in one step, and the reasons: the answer of a program and of a method.

    Attributes:
        weights: ``[m]`` float64, of the raw gradients.
        kkt_gap: How far the optimality conditions are from holding, relative to the trace of the Gramian (of
            its positive semi-definite part, where rounding has made it indefinite).
        certificates: Scalars and ``[m]`` arrays to log.
        status: ``"optimal"``, with a gap of 1e-9 at most; ``"inexact"`` where constraints are so nearly
            contradictory that the gap stays above; ``"skipped"`` where the Gramian was zero or not finite,
            and `weights` are equal (`min_norm`) or those nearest to the target (`nearest`).
        shares: ``[m]``, how much of the step is meant for each task; the weights by default. What tasks that
            are absent from a batch leave over goes to the others by these.
    """

    weights: Array
    kkt_gap: float = 0.0
    certificates: dict[str, float | Array] = field(default_factory=dict)
    status: str = "optimal"
    shares: Array | None = None

    @classmethod
    def certified(cls, weights: Array, gap: float) -> "Decision":
        """One that is named inexact where its gap says so."""
        return cls(weights, gap, status="optimal" if gap <= _LARGEST_GAP else "inexact")


def scaled(gramian: Array) -> Array | None:
    """The Gramian over its trace, symmetrized; ``None`` if it is not finite or its trace not positive.

    Entries beyond the Cauchy-Schwarz inequality are brought back to it. ValueError if it is not square.
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


def nearest(gramian: Array, target: Array, min_main_share: float = 0.0, rows: Rows | None = None) -> Decision:
    """The weights nearest to `target` in the norm of ``G + ridge`` that satisfy the constraints of the step.

    ``min (a - target)^T (G / trace + ridge I) (a - target)`` subject to ``sum a = 1``, ``a >= 0``,
    ``a_0 >= min_main_share`` and ``A a >= b``. For m = 2 every norm agrees on what is nearest. Where the gap
    stays open, rows nearly contradict each other: another attempt loosens all but the signs.

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
    if rows is None and target.min() >= 0.0 and target[0] >= min_main_share:
        return Decision(target.copy(), status="skipped" if normalized is None else "optimal")
    solve = _of_two if len(target) == 2 else _of_many
    found = solve(normalized, target, *constraints(len(target), min_main_share, rows))
    if found is None:
        raise ValueError(
            f"`rows` and `min_main_share={min_main_share}` leave no weights with sum 1 and none negative; "
            "lower `min_main_share` or loosen `rows`."
        )
    return found if normalized is not None else replace(found, status="skipped")


def _of_two(normalized: Array | None, target: Array, normals: Array, offsets: Array) -> Decision | None:
    """Closed form: each row bounds the main task's weight x from below or above; None where no x is left."""
    curvature, wanted = 2.0 * RIDGE, float(target[0])
    if normalized is not None:
        (first, cross), (_, second) = normalized.tolist()
        curvature += max(first - 2.0 * cross + second, 0.0)
    limits = [(p - q, bound - q) for (p, q), bound in zip(normals.tolist(), offsets.tolist(), strict=True)]
    least = max(lack / slope for slope, lack in limits if slope > _FLAT)  # signs bound it on either side
    most = min(lack / slope for slope, lack in limits if slope < -_FLAT)
    if least > most + _EMPTY or any(abs(slope) <= _FLAT and lack > _EMPTY for slope, lack in limits):
        return None
    weight = min(max(wanted, least), max(most, least))
    push = curvature * (weight - wanted)  # an active row has to stop it
    slacks = [(slope * weight - lack, slope) for slope, lack in limits]
    stopped = push == 0.0 or any(slack <= _ACTIVE and push * slope > 0.0 for slack, slope in slacks)
    gap = max(0.0, -min(slacks)[0]) + (0.0 if stopped else abs(push))
    return Decision.certified(np.array([weight, 1.0 - weight]), gap)


def _of_many(normalized: Array | None, target: Array, normals: Array, offsets: Array) -> Decision | None:
    """The general case; None where no weights satisfy the rows."""
    metric = _metric(normalized, len(target))
    attempts: list[Decision] = []
    for loosening in (0.0, _LOOSENING):
        bounds = offsets.copy()
        bounds[len(target) :] -= loosening
        weights = nearest_feasible(metric, target, normals, bounds)
        if weights is None:
            continue
        gap = optimality_gap(metric, target, weights, normals, offsets)
        attempts.append(Decision.certified(weights, gap))
        if attempts[-1].status == "optimal":
            break
    return min(attempts, key=lambda attempt: attempt.kkt_gap, default=None)


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
    if rows is None and origin is None and len(normalized) == 2 and normalized.diagonal().min() > 0.0:
        return _shortest_of_two(normalized)
    rows = np.eye(len(gramian)) if rows is None else np.asarray(rows, dtype=np.float64)
    rows = rows[(rows[:, normalized.diagonal() > 0.0] != 0.0).any(axis=1)]
    if not len(rows):
        return Decision(np.full(len(gramian), 1.0 / len(gramian)), status="skipped")
    root = factor(normalized)
    points = root @ rows.T
    hull, gap = _shortest(points if origin is None else points - (root @ origin)[:, None])
    return Decision.certified(rows.T @ hull, gap)


def _shortest_of_two(gramian: Array) -> Decision:
    """Closed form, Desideri's: the foot of the perpendicular, or the shorter gradient."""
    (first, cross), (_, second) = gramian.tolist()
    spread = (second - cross) + (first - cross)
    share = 0.5 if spread <= 0.0 else min(max((second - cross) / spread, 0.0), 1.0)
    pulled = share * first + (1.0 - share) * cross, share * cross + (1.0 - share) * second
    gap = share * pulled[0] + (1.0 - share) * pulled[1] - min(pulled)
    return Decision.certified(np.array([share, 1.0 - share]), max(gap, 0.0))


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


def constraints(n_tasks: int, min_main_share: float = 0.0, rows: Rows | None = None) -> Rows:
    """Inequalities ``normals a >= offsets`` of every step: signs, the main task's share, the user's rows.

    Those are scaled to a largest entry of 1 in each row; rows of zeros stay.
    """
    normals, offsets = np.eye(n_tasks), np.zeros(n_tasks)
    offsets[0] = min_main_share
    if rows is None:
        return normals, offsets
    sizes = np.abs(rows[0]).max(axis=1)
    sizes[sizes == 0.0] = 1.0
    return np.concatenate([normals, rows[0] / sizes[:, None]]), np.concatenate([offsets, rows[1] / sizes])


def nearest_feasible(metric: Array, target: Array, normals: Array, offsets: Array) -> Array | None:
    """Weights ``[m]`` of sum 1 nearest to `target` with ``normals a >= offsets``.

    None where the solver finds none. The metric is ``[m, m]``, positive definite, of trace 1 or so.

    Source:
        Goldfarb and Idnani, Mathematical Programming 27, 1983, as quadprog has it.
    """
    if (normals @ target >= offsets).all():
        return target.copy()
    columns = np.vstack([np.ones(len(target)), normals]).T
    bounds = np.concatenate([np.ones(1), offsets])
    try:
        found = quadprog.solve_qp(metric.copy(), metric @ target, columns, bounds, meq=1)
    except ValueError:  # the rows contradict each other, to its rounding
        return None
    weights: Array = np.maximum(found[0], 0.0)
    weights /= weights.sum()  # takes away the rounding: nothing below 0, sum 1
    return weights


def optimality_gap(metric: Array, target: Array, weights: Array, normals: Array, offsets: Array) -> float:
    """Residual of the optimality conditions at `weights`, whoever solved for them.

    Rows have a largest entry of 1 each; multipliers of the active ones are fitted by non-negative least
    squares.
    """
    slack = normals @ weights - offsets
    violation = max(float(-slack.min()), 0.0)
    slope = metric @ (weights - target)
    slope = slope - slope.sum() / len(slope)
    active = normals[slack <= _ACTIVE]
    level = (active - active.mean(axis=1, keepdims=True)).T
    return violation + float(np.abs(level @ nonnegative(level, slope) - slope).max())


def _metric(normalized: Array | None, n_tasks: int) -> Array:
    """The ridge on top of the Gramian, or of its positive semi-definite part."""
    ridge = RIDGE * np.eye(n_tasks)
    if normalized is None:
        return ridge
    metric: Array = normalized + ridge
    try:
        np.linalg.cholesky(metric)
    except np.linalg.LinAlgError:
        root = factor(normalized)
        metric = root.T @ root + ridge
    return metric
