"""The one numerical primitive of the Pareto room: non-negative least squares, and what is built on it."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls

Array = NDArray[np.float64]

_STATIONARY = 1e-12  # slope of a squared residual at a minimum, up to rounding


def nonnegative(matrix: Array, target: Array) -> Array:
    """Minimize ``||matrix y - target||`` subject to ``y >= 0``; ``[n, r]``, ``[n]``, lengths 1 or so.

    Source:
        Lawson and Hanson, Solving Least Squares Problems, 1974, algorithm NNLS (SciPy's). Where it cycles, or
        its answer is no minimum (SciPy 1.15 to 1.17 with nearly parallel columns, scipy/scipy#25389),
        bounded-variable least squares (Stark and Parker, 1995) answers, after r iterations at most.
    """
    if not matrix.shape[1]:
        return np.zeros(0)  # on which SciPy 1.17 aborts
    try:
        solution: Array = nnls(matrix, target)[0]
    except RuntimeError:
        return _bounded(matrix, target)
    slope = (target - matrix @ solution) @ matrix
    if max(float(slope.max()), abs(float(slope @ solution))) <= _STATIONARY:
        return solution
    second = _bounded(matrix, target)
    lengths = [np.linalg.norm(matrix @ found - target) for found in (solution, second)]
    return second if lengths[1] < lengths[0] else solution


def _bounded(matrix: Array, target: Array) -> Array:
    found: Array = lsq_linear(matrix, target, bounds=(0.0, np.inf), method="bvls", tol=1e-15).x
    return np.maximum(found, 0.0)


def factor(gramian: Array) -> Array:
    """Square root ``Q`` with ``Q^T Q = gramian``, negative eigenvalues taken as zero.

    It is taken of the cosines, so that short gradients keep their relative accuracy beside long ones. The
    Gramian is symmetric, positive semi-definite up to rounding, and of trace about 1.
    """
    lengths = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
    safe = np.where(lengths > 0.0, lengths, np.inf)
    with np.errstate(over="ignore"):
        cosines = gramian / safe[:, None] / safe
    cosines = np.minimum(np.maximum(cosines, -1.0), 1.0)
    values, vectors = np.linalg.eigh(cosines)
    root: Array = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * lengths
    return root
