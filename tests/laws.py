"""Mathematical assertions and brute-force references shared by the tests of solvers and methods."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

GAP = 1e-9
"""Largest KKT gap an exact solver may leave, relative to the trace of the Gramian."""


def assert_on_simplex(weights: np.ndarray) -> None:
    """No weight is negative, their sum is 1."""
    assert weights.dtype == np.float64
    assert (weights >= 0.0).all(), weights
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=0, atol=1e-12)


def assert_descends(gramian: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Min-norm law: ``<row, d> >= |d|^2`` for every row of the hull, up to 1e-9 of the trace."""
    rows = np.eye(len(gramian)) if rows is None else rows
    pulled = gramian @ weights
    assert (rows @ pulled >= weights @ pulled - GAP * gramian.trace()).all()


def assert_same_direction(
    gradients: np.ndarray, first: np.ndarray, second: np.ndarray, relative: float
) -> None:
    """Both weights combine the gradients ``[m, P]`` into one vector, relative to its own length.

    Where that vector is zero, an iterative reference leaves about 1e-8 of the longest gradient.
    """
    size, longest = np.linalg.norm(second @ gradients), np.linalg.norm(gradients, axis=1).max()
    assert np.linalg.norm((first - second) @ gradients) <= relative * size + 1e-8 * longest


def assert_permutation_equivariant(solve: Callable[[np.ndarray], np.ndarray], order: np.ndarray) -> None:
    """`solve` takes an order of the tasks and answers weights in that order."""
    np.testing.assert_allclose(solve(order), solve(np.arange(len(order)))[order], atol=1e-8)


def brute_force_min_norm(gramian: np.ndarray, rows: np.ndarray) -> float:
    """Least ``||d||^2`` over the hull of the rows, by trying every support."""
    hull = rows @ gramian @ rows.T
    return min(_affine_minimum(hull, list(support)) for support in _supports(len(rows)))


def _affine_minimum(hull: np.ndarray, support: list[int]) -> float:
    n = len(support)
    system = np.block(
        [[hull[np.ix_(support, support)], np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]]
    )
    shares = np.linalg.lstsq(system, np.eye(n + 1)[-1], rcond=1e-14)[0][:n]
    if (shares < -1e-12).any() or abs(shares.sum() - 1.0) > 1e-9:
        return np.inf
    return float(shares @ hull[np.ix_(support, support)] @ shares)


def brute_force_nearest(
    metric: np.ndarray, target: np.ndarray, normals: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Nearest weights of sum 1 with ``normals a >= offsets``, by trying every set of active rows."""
    m, best, best_value = len(target), None, np.inf
    for active in [(), *_supports(len(normals), m - 1)]:
        equalities = np.vstack([np.ones((1, m)), normals[list(active)]])
        bounds = np.concatenate([np.ones(1), offsets[list(active)]])
        zeros = np.zeros((len(bounds), len(bounds)))
        system = np.block([[metric, equalities.T], [equalities, zeros]])
        right = np.concatenate([metric @ target, bounds])
        weights = np.linalg.lstsq(system, right, rcond=1e-14)[0][:m]
        holds = (normals @ weights >= offsets - 1e-9).all() and np.allclose(
            equalities @ weights, bounds, atol=1e-9
        )
        value = (weights - target) @ metric @ (weights - target)
        if holds and value < best_value:
            best, best_value = weights, value
    assert best is not None
    return best


def _supports(n: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    for size in range(1, (n if largest is None else min(n, largest)) + 1):
        yield from combinations(range(n), size)
