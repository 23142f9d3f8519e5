"""Time of the step's quadratic programs beside cvxpy building its problem in each step.

Run: ``OMP_NUM_THREADS=1 python benchmarks/qp.py``. Prints medians over
interleaved repeats in one run, and ratios. Times are those of the process: others on its core do not count.
"""

import statistics
import time
from collections.abc import Callable

import cvxpy
import numpy as np

from psst.pareto import Preference, RaySet, StepState, min_norm, nearest

REPEATS = 15
CALLS = 200


def rows_of(m: int, n_rows: int) -> np.ndarray:
    """The m tasks and differences of unit rays."""
    rays = np.abs(np.random.default_rng(1).standard_normal((n_rows - m + 1, m)))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.vstack([np.eye(m), rays[1:] - rays[0]])


def with_cvxpy(gramian: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The same min-norm program, built anew."""
    root = np.linalg.cholesky(gramian + 1e-12 * np.eye(len(gramian)))
    shares = cvxpy.Variable(len(rows), nonneg=True)
    objective = cvxpy.Minimize(cvxpy.sum_squares((rows @ root).T @ shares))
    cvxpy.Problem(objective, [cvxpy.sum(shares) == 1]).solve(solver="CLARABEL")
    return rows.T @ shares.value


def microseconds(call: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        call()
    return 1e6 * (time.process_time() - start) / calls


def main() -> None:
    for m, n_rows in ((2, 2), (3, 9)):
        gradients = np.random.default_rng(0).standard_normal((m, 50))
        gramian, stacked = gradients @ gradients.T, np.eye(m) if n_rows == m else rows_of(m, n_rows)
        rows = None if n_rows == m else stacked
        target, bound = np.eye(m)[0], (np.eye(m), np.full(m, 0.1))
        method = Preference(RaySet.constant(np.eye(m)), 0)
        method.start(m)
        state = StepState(gramian, np.ones(m), np.zeros(m), 0)
        calls: dict[str, tuple[Callable[[], object], int]] = {
            "min_norm": (lambda g=gramian, r=rows: min_norm(g, r), CALLS),
            "nearest, target allowed": (lambda g=gramian: nearest(g, np.full(len(g), 1 / len(g))), CALLS),
            "nearest, rows active": (lambda g=gramian, t=target, b=bound: nearest(g, t, rows=b), CALLS),
            "Preference.decide": (lambda k=method, s=state: k.decide(s), CALLS),
            "cvxpy min_norm": (lambda g=gramian, r=stacked: with_cvxpy(g, r), 3),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(REPEATS):
            for name, (call, count) in calls.items():
                times[name].append(microseconds(call, count))
        medians = {name: statistics.median(found) for name, found in times.items()}
        print(f"m = {m}, {n_rows} rows")
        for name, median in medians.items():
            print(f"  {name:24s} {median:9.1f} us   cvxpy / this {medians['cvxpy min_norm'] / median:8.1f}")


if __name__ == "__main__":
    main()
