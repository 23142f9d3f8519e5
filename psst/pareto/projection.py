"""Projection of weights onto the polytope of allowed ones, in the norm of a Gramian, and its certificate."""

import numpy as np
import quadprog

from psst.pareto.least_squares import Array, identity, nonnegative

Rows = tuple[Array, Array]

_ACTIVE = 1e-9
"""Slack of a row of largest entry 1, at which it counts as active."""


def constraints(n_tasks: int, min_main_share: float = 0.0, rows: Rows | None = None) -> Rows:
    """Inequalities ``normals a >= offsets`` of every step: signs, the main task's share, the user's rows.

    Those are scaled to a largest entry of 1 in each row; rows of zeros stay.
    """
    normals, offsets = identity(n_tasks), np.zeros(n_tasks)
    offsets[0] = min_main_share
    if rows is None:
        return normals, offsets
    sizes = np.abs(rows[0]).max(axis=1)
    sizes[sizes == 0.0] = 1.0
    return np.concatenate([normals, rows[0] / sizes[:, None]]), np.concatenate([offsets, rows[1] / sizes])


def nearest_feasible(
    metric: Array, target: Array, normals: Array, offsets: Array
) -> tuple[Array, Array] | None:
    """Weights of sum 1 nearest to `target` with ``normals a >= offsets``.

    Args:
        metric: ``[m, m]``, positive definite, of trace 1 or so.
        target: ``[m]``, of sum 1.
        normals: ``[r, m]``.
        offsets: ``[r]``.

    Returns:
        ``[m]`` weights and ``[r]`` multipliers; None where the solver finds none.

    Source:
        Goldfarb and Idnani, Mathematical Programming 27, 1983, as quadprog has it.
    """
    if (normals @ target >= offsets).all():
        return target.copy(), np.zeros(len(normals))
    columns = np.vstack([np.ones(len(target)), normals]).T
    bounds = np.concatenate([np.ones(1), offsets])
    try:
        found = quadprog.solve_qp(metric.copy(), metric @ target, columns, bounds, meq=1)
    except ValueError:  # the rows contradict each other, to its rounding
        return None
    weights = np.maximum(found[0], 0.0)  # takes away the rounding: nothing below 0, sum 1
    return weights / weights.sum(), found[4][1:]


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
        active = normals[slack <= _ACTIVE]
        level = (active - active.mean(axis=1, keepdims=True)).T
        return violation + float(np.abs(level @ nonnegative(level, slope) - slope).max())
    held = multipliers @ normals
    residual = np.abs(slope - held + held.sum() / len(held)).max()
    return violation + float(residual) + float(np.abs(multipliers * slack).max())
