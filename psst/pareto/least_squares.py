"""The one numerical primitive of the Pareto room: non-negative least squares, and what is built on it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls

Array = NDArray[np.float64]

INFEASIBLE_RESIDUAL = 1e-10
"""Squared residual, relative to 1, below which a set of inequalities counts as empty."""


@cache
def identity(n: int) -> Array:
    """``[n, n]``, shared and read-only: a fresh one costs as much as a closed form."""
    eye = np.eye(n)
    eye.flags.writeable = False
    return eye


def nonnegative(matrix: Array, target: Array) -> Array:
    """Minimize ``||matrix y - target||`` subject to ``y >= 0``.

    Args:
        matrix: ``[n, r]``.
        target: ``[n]``.

    Returns:
        ``[r]``, non-negative.

    Source:
        Lawson and Hanson, Solving Least Squares Problems, 1974, algorithm NNLS (SciPy's). Where it cycles,
        bounded-variable least squares (Stark and Parker, 1995) takes over.
    """
    try:
        solution: Array = nnls(matrix, target)[0]
    except RuntimeError:
        bounded = lsq_linear(matrix, target, bounds=(0.0, np.inf), method="bvls", tol=1e-15)
        solution = np.maximum(bounded.x, 0.0)
    return solution


def factor(gramian: Array) -> Array:
    """Square root ``Q`` with ``Q^T Q = gramian``, negative eigenvalues taken as zero.

    Args:
        gramian: ``[m, m]``, symmetric, positive semi-definite up to rounding, of trace about 1.

    Returns:
        ``[m, m]``.
    """
    values, vectors = np.linalg.eigh(gramian)
    root: Array = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return root


def least_distance(normals: Array, offsets: Array) -> Array | None:
    """The shortest ``x`` with ``normals @ x >= offsets``; ``None`` where no ``x`` satisfies them.

    Args:
        normals: ``[r, n]``.
        offsets: ``[r]``.

    Returns:
        ``[n]``, or ``None``.

    Source:
        Lawson and Hanson, 1974, algorithm LDP. Departure: rows are brought to unit length and offsets to a
        largest of 1 first, so that the outcome does not depend on the scale of either.
    """
    lengths = np.sqrt(np.einsum("rn,rn->r", normals, normals))
    flat = lengths <= 1e-14 * max(float(lengths.max(initial=0.0)), 1e-300)
    if (offsets[flat] > 1e-12).any():
        return None
    normals, offsets = normals[~flat] / lengths[~flat, None], offsets[~flat] / lengths[~flat]
    scale = float(offsets.max(initial=0.0))
    if scale <= 0.0:
        return np.zeros(normals.shape[1])
    stacked = np.vstack([normals.T, offsets / scale])
    target = np.zeros(len(stacked))
    target[-1] = 1.0
    residual = stacked @ nonnegative(stacked, target) - target
    if -residual[-1] < INFEASIBLE_RESIDUAL:  # equals the squared residual, but for rounding
        return None
    shortest: Array = -scale * residual[:-1] / residual[-1]
    return shortest
