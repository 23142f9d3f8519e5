"""Projection of weights onto the polytope of allowed ones, in the norm of a Gramian."""

import math

import numpy as np

from psst.pareto.least_squares import Array, identity, least_distance, nonnegative

Rows = tuple[Array, Array]

ACTIVE = 1e-9
"""Slack of a row, relative to 1 and its bound, at which it counts as active."""


def constraints(n_tasks: int, min_main_share: float = 0.0, rows: Rows | None = None) -> Rows:
    """Inequalities ``normals a >= offsets`` of every step: signs, the main task's share, the user's rows."""
    normals, offsets = identity(n_tasks), np.zeros(n_tasks)
    offsets[0] = min_main_share
    if rows is not None:
        normals, offsets = np.concatenate([normals, rows[0]]), np.concatenate([offsets, rows[1]])
    return normals, offsets


def nearest_feasible(metric: Array, target: Array, normals: Array, offsets: Array) -> Array | None:
    """Weights of sum 1 nearest to `target` in `metric` with ``normals a >= offsets``; None if there are none.

    Args:
        metric: ``[m, m]``, positive definite.
        target: ``[m]``, of sum 1.
        normals: ``[r, m]``.
        offsets: ``[r]``.
    """
    missing = offsets - normals @ target
    if missing.max() <= 0.0:
        return target.copy()
    n_tasks = len(target)
    if n_tasks == 2:
        move = _interval_move((normals[:, 0] - normals[:, 1]).tolist(), missing.tolist())
        return None if move is None else _clean(target + np.array([move, -move]))
    basis = np.vstack([np.eye(n_tasks - 1), -np.ones((1, n_tasks - 1))])
    lower = np.linalg.cholesky(basis.T @ metric @ basis)
    outward = np.linalg.inv(lower).T
    step = least_distance(normals @ basis @ outward, missing)
    return None if step is None else _clean(target + basis @ (outward @ step))


def _interval_move(slopes: list[float], missing: list[float]) -> float | None:
    """The number nearest to 0 with ``slopes * move >= missing``: the case m = 2, where every norm agrees."""
    least, most = -math.inf, math.inf
    for slope, lack in zip(slopes, missing, strict=True):
        if slope > 1e-14:
            least = max(least, lack / slope)
        elif slope < -1e-14:
            most = min(most, lack / slope)
        elif lack > 1e-12:
            return None
    return None if least > most + 1e-12 else min(max(0.0, least), max(most, least))


def _clean(weights: Array) -> Array:
    """Take away the rounding: nothing below 0, sum 1."""
    weights = np.maximum(weights, 0.0)
    normalized: Array = weights / weights.sum()
    return normalized


def optimality_gap(metric: Array, target: Array, weights: Array, normals: Array, offsets: Array) -> float:
    """Residual of the optimality conditions at `weights`, whoever solved for them.

    Multipliers are fitted to the active rows by non-negative least squares. Arguments are those of
    `nearest_feasible`.
    """
    if len(target) == 2:
        return _interval_gap(metric @ (weights - target), weights, normals, offsets)
    slack = normals @ weights - offsets
    violation = max(float(-slack.min()), 0.0)
    gradient = metric @ (weights - target)
    if not gradient.any():
        return violation
    active = normals[slack <= ACTIVE * (1.0 + np.abs(offsets))]
    ones = np.ones((len(target), 1))
    multipliers = np.hstack([active.T, ones, -ones])
    residual = multipliers @ nonnegative(multipliers, gradient) - gradient
    return violation + float(np.abs(residual).max())


def _interval_gap(gradient: Array, weights: Array, normals: Array, offsets: Array) -> float:
    """`optimality_gap` for m = 2: a slope along (1, -1) is right where an active row stops the way down."""
    slope, (first, second) = float(gradient[0] - gradient[1]), weights.tolist()
    violation, held = 0.0, slope == 0.0
    for (to_first, to_second), offset in zip(normals.tolist(), offsets.tolist(), strict=True):
        slack = to_first * first + to_second * second - offset
        violation = max(violation, -slack)
        held = held or (slack <= ACTIVE * (1.0 + abs(offset)) and slope * (to_first - to_second) > 0.0)
    return violation if held else violation + abs(slope)
