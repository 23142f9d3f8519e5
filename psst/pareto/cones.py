"""Programs over cones of task gradients, each one non-negative least squares problem on the Gramian."""

import numpy as np

from psst.pareto.least_squares import Array, factor, least_distance, nonnegative
from psst.pareto.solver import Solution, certified, scaled

REACH = 1e4
"""Longest direction, relative to the unit gradients, that may be needed to keep the guarantees."""


def project(gramian: Array, target: Array) -> Solution:
    """Weights of the direction nearest to the target's along which no loss rises, brought to sum 1.

    ``min ||J^T (a - target)||`` subject to ``G a >= 0``; ``a = target + v`` with the multipliers
    ``v = argmin ||J^T (target + v)||, v >= 0`` of the rows.

    Args:
        gramian: ``[m, m]``.
        target: ``[m]``, none negative, of sum 1.
    """
    normalized = scaled(gramian)
    if normalized is None:
        return Solution(target.copy(), 0.0, "skipped")
    if (normalized @ target).min() >= 0.0:
        return Solution(target.copy(), 0.0)
    root = factor(normalized)
    lengths = np.sqrt(np.maximum(normalized.diagonal(), 0.0))
    moving = lengths > 0.0
    pushed = np.zeros(len(target))
    pushed[moving] = nonnegative(root[:, moving] / lengths[moving], -(root @ target)) / lengths[moving]
    total = float((target + pushed).sum())
    weights, pushed = (target + pushed) / total, pushed / total
    progress = root.T @ (root @ weights)
    return certified(weights, max(float(-progress.min()), 0.0) + float(np.abs(pushed * progress).max()))


def main_first(gramian: Array, lengths: Array, fractions: Array) -> Solution:
    """Weights of the direction nearest to the main gradient that keeps the others' guaranteed progress.

    ``min ||d - u_0||`` subject to ``<u_j, d> >= fractions_j ||u_j||^2`` with ``u_i = g_i / lengths_i``; the
    weights of d on the raw gradients, brought to sum 1.

    Args:
        gramian: ``[m, m]``.
        lengths: ``[m]``; tasks of length 0 take no part.
        fractions: ``[m - 1]`` in [0, 1].

    Returns:
        All weight on the main task where it has no gradient (``"skipped"``), or where the guarantees
        contradict each other, or so nearly that d would be 10,000 times as long (``"relaxed"``).
    """
    main_only, normalized = np.eye(len(lengths))[0], scaled(gramian)
    if normalized is None or normalized[0, 0] <= 0.0 or lengths[0] <= 0.0:
        return Solution(main_only, 0.0, "skipped")
    moving = np.flatnonzero(lengths > 0.0)
    lengths, fractions = lengths[moving], fractions[moving[1:] - 1]
    root = factor(normalized)[:, moving] / (lengths / lengths.max())
    root /= np.linalg.norm(root)
    normals = root[:, 1:].T
    bounds = fractions * np.square(normals).sum(axis=1)
    found = least_distance(normals, bounds - normals @ root[:, 0], REACH)
    if found is None:
        return Solution(main_only, 0.0, "relaxed")
    shares = np.concatenate([np.ones(1), found[1]])
    total = float(shares.sum())
    slack = (normals @ (root @ shares) - bounds) / total
    gap = max(float(-slack.min(initial=0.0)), 0.0) + float(np.abs(found[1] * slack).max(initial=0.0)) / total
    used = shares > 0.0
    raw = np.zeros(len(main_only))
    raw[moving[used]] = shares[used] * (lengths[used].min() / lengths[used])
    return certified(raw / raw.sum(), gap)
