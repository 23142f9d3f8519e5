"""Projection of weights onto the polytope of allowed ones, in the norm of a Gramian."""

import math
from functools import cache

import numpy as np

from psst.pareto.least_squares import Array, identity, least_distance, nonnegative

Rows = tuple[Array, Array]

ACTIVE = 1e-9
"""Slack of a row of largest entry 1, at which it counts as active."""


def of_unit_size(rows: Rows) -> Rows:
    """The same inequalities ``A a >= b`` with a largest entry of 1 in each row of A; rows of zeros stay."""
    sizes = np.abs(rows[0]).max(axis=1)
    sizes[sizes == 0.0] = 1.0
    return rows[0] / sizes[:, None], rows[1] / sizes


def stacked(first: Rows, second: Rows) -> Rows:
    """Both sets of inequalities."""
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def constraints(n_tasks: int, min_main_share: float = 0.0, rows: Rows | None = None) -> Rows:
    """Inequalities ``normals a >= offsets`` of every step: signs, the main task's share, the user's rows."""
    normals, offsets = identity(n_tasks), np.zeros(n_tasks)
    offsets[0] = min_main_share
    return (normals, offsets) if rows is None else stacked((normals, offsets), rows)


@cache
def sum_keeping(n_tasks: int) -> Array:
    """``[m, m - 1]`` changes of weights that take from the last task; shared and read-only."""
    basis = np.concatenate([np.eye(n_tasks - 1), np.full((1, n_tasks - 1), -1.0)])
    basis.flags.writeable = False
    return basis


def directions(metric: Array) -> Array:
    """``[m, m - 1]`` changes of weights that keep their sum, orthonormal in the metric ``[m, m]``.

    Raises:
        numpy.linalg.LinAlgError: If the metric is not positive definite among them.
    """
    basis = sum_keeping(len(metric))
    lower = np.linalg.cholesky(basis.T @ metric @ basis)
    orthonormal: Array = basis @ np.linalg.inv(lower).T
    return orthonormal


def nearest_feasible(
    along: Array, target: Array, normals: Array, offsets: Array
) -> tuple[Array, Array] | None:
    """Weights of sum 1 nearest to `target` in a metric of trace 1 with ``normals a >= offsets``.

    Args:
        along: ``[m, m - 1]``, the metric's `directions`.
        target: ``[m]``, of sum 1.
        normals: ``[r, m]``.
        offsets: ``[r]``.

    Returns:
        ``[m]`` weights and ``[r]`` multipliers; None if there are no such weights.
    """
    missing = offsets - normals @ target
    if missing.max() <= 0.0:
        return target.copy(), np.zeros(len(normals))
    found = least_distance(normals @ along, missing, 1.5 + math.sqrt(target @ target))
    if found is None:
        return None
    weights = np.maximum(target + along @ found[0], 0.0)  # takes away the rounding: nothing below 0,
    return weights / weights.sum(), found[1]  # sum 1


def optimality_gap(
    metric: Array,
    target: Array,
    weights: Array,
    normals: Array,
    offsets: Array,
    multipliers: Array | None = None,
) -> float:
    """Residual of the optimality conditions at `weights`, whoever solved for them.

    Args:
        metric: ``[m, m]``.
        target: ``[m]``.
        weights: ``[m]``, of sum 1.
        normals: ``[r, m]``, of largest entry 1 each.
        offsets: ``[r]``.
        multipliers: ``[r]``, not negative; fitted to the active rows by non-negative least squares where they
            are not given.
    """
    slack = normals @ weights - offsets
    violation = max(float(-slack.min()), 0.0)
    slope = metric @ (weights - target)
    slope = slope - slope.sum() / len(slope)
    if multipliers is None:
        active = normals[slack <= ACTIVE]
        level = (active - active.mean(axis=1, keepdims=True)).T
        return violation + float(np.abs(level @ nonnegative(level, slope) - slope).max())
    held = multipliers @ normals
    residual = np.abs(slope - held + held.sum() / len(held)).max()
    return violation + float(residual) + float(np.abs(multipliers * slack).max())
