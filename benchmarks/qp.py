"""Time of the step's quadratic programs and of whole decisions, beside TorchJD and cvxpy.

Run: ``OMP_NUM_THREADS=1 python benchmarks/qp.py``. Prints medians over interleaved repeats, and how often
each goes into the time that cvxpy (CLARABEL) takes to build and solve such a program anew. Times are those of
the process: others on its core do not count. Inputs are fixed; targets are a corner, gradients
conflict, so that rows bind. Budgets hold for the programs; a decision of a method is its program and the
bookkeeping of a step, from losses off their ray, so that weights are tilted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import cvxpy
import numpy as np
import torch
from torchjd import aggregation

from psst.pareto import (
    Method,
    MinNorm,
    Preference,
    Ray,
    RaySet,
    StepState,
    min_norm,
    nearest,
)

Array = np.ndarray
BUDGET = {2: 30.0, 3: 300.0}
"""Microseconds of one program, by m."""
LEAST_SPEEDUP = 50.0
"""Against cvxpy."""


@dataclass(frozen=True)
class Timed:
    """One line of the table.

    Attributes:
        call: What is timed.
        reference: Name of the line that solves the same by cvxpy.
        is_program: Whether the budgets hold for it.
        calls: In a row, a repeat.
    """

    call: Callable[[], object]
    reference: str | None = None
    is_program: bool = False
    calls: int = 100


def conflicting(m: int, generator: np.random.Generator) -> Array:
    """``[m, m]`` Gramian of gradients that conflict: random ones, less three quarters of their mean."""
    gradients = generator.standard_normal((m, 50))
    gradients -= (0.75 + 0.25 * (m == 2)) * gradients.mean(axis=0)
    gradients[0] += 0.3 * generator.standard_normal(50)
    return gradients @ gradients.T


def rows_of(m: int, n_rows: int) -> Array:
    """The m tasks and differences of unit rays."""
    rays = np.abs(np.random.default_rng(1).standard_normal((n_rows - m + 1, m)))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.vstack([np.eye(m), rays[1:] - rays[0]])


def cvxpy_min_norm(gramian: Array, rows: Array) -> Array:
    """The shortest vector in the hull, built anew."""
    root = np.linalg.cholesky(gramian + 1e-12 * np.eye(len(gramian)))
    shares = cvxpy.Variable(len(rows), nonneg=True)
    objective = cvxpy.Minimize(cvxpy.sum_squares((rows @ root).T @ shares))
    cvxpy.Problem(objective, [cvxpy.sum(shares) == 1]).solve(solver="CLARABEL")
    return rows.T @ shares.value


def cvxpy_nearest(gramian: Array, target: Array, rows: Array, bounds: Array) -> Array:
    """The nearest allowed weights, built anew."""
    root = np.linalg.cholesky(gramian + 1e-6 * gramian.trace() * np.eye(len(gramian)))
    weights = cvxpy.Variable(len(gramian), nonneg=True)
    objective = cvxpy.Minimize(cvxpy.sum_squares(root.T @ (weights - target)))
    cvxpy.Problem(objective, [cvxpy.sum(weights) == 1, rows @ weights >= bounds]).solve(solver="CLARABEL")
    return weights.value


def programs(m: int, n_rows: int, gramian: Array) -> dict[str, Timed]:
    """Min-norm over `n_rows` rows; nearest with `n_rows` inequalities, signs among them."""
    stacked = rows_of(m, n_rows)
    rows = None if n_rows == m else stacked
    equal, corner = np.full(m, 1.0 / m), np.eye(m)[0]
    n_own = max(n_rows - m, 1)  # beside m signs
    own = (rows_of(m, m + n_own)[m:], np.full(n_own, -0.05))
    bound = (np.eye(m), np.full(m, 0.1))
    return {
        "cvxpy, min_norm": Timed(lambda: cvxpy_min_norm(gramian, stacked), calls=3),
        "cvxpy, nearest": Timed(lambda: cvxpy_nearest(gramian, corner, *own), calls=3),
        "min_norm": Timed(lambda: min_norm(gramian, rows), "cvxpy, min_norm", True),
        "nearest, target allowed": Timed(lambda: nearest(gramian, equal), "cvxpy, nearest", True),
        "nearest, bounds bind": Timed(lambda: nearest(gramian, corner, rows=bound), "cvxpy, nearest", True),
        f"nearest, {n_own} rows": Timed(lambda: nearest(gramian, corner, rows=own), "cvxpy, nearest", True),
    }


def decisions(m: int, gramian: Array) -> dict[str, Timed]:
    """Of every method that follows a ray; the losses stand off it."""
    rays = RaySet.constant(np.vstack([np.eye(m), np.zeros((1, m))]))
    log_losses = np.linspace(0.0, -0.4, m)
    noisy = StepState(gramian, np.exp(log_losses), log_losses, 0)
    methods: dict[str, tuple[Method, StepState]] = {
        "Preference": (Preference(rays, 0), noisy),
        "Preference, one row": (Preference(rays, 0, min_main_share=0.2), noisy),
        "MinNorm": (MinNorm(rays, 0), noisy),
        "Ray": (Ray(rays, 0), noisy),
    }
    found = {}
    for name, (method, state) in methods.items():
        method.start(m)
        found[f"{name}.decide"] = Timed(lambda method=method, state=state: method.decide(state))
    return found


def of_torchjd(gramian: Array) -> dict[str, Timed]:
    """Weightings of the same Gramian, as a float32 tensor on the CPU; not all of them iterate to the end."""
    matrix = torch.tensor(gramian, dtype=torch.float32)
    found = {}
    for name in ("Mean", "UPGrad", "DualProj", "MGDA", "PCD", "CAGrad"):
        try:
            options = {"c": 0.5} if name == "CAGrad" else {}
            weighting = getattr(aggregation, f"{name}Weighting")(**options)
        except ImportError as error:  # an extra of torchjd
            print(f"  ({name} left out: {error})")
            continue
        found[f"TorchJD {name}"] = Timed(lambda weighting=weighting: weighting(matrix), calls=20)
    return found


def microseconds(timed: Timed) -> float:
    start = time.process_time()
    for _ in range(timed.calls):
        timed.call()
    return 1e6 * (time.process_time() - start) / timed.calls


def verdict(timed: Timed, median: float, speedup: float | None, m: int) -> str:
    if not timed.is_program:
        return ""
    slow = median > BUDGET[m] or (speedup is not None and speedup < LEAST_SPEEDUP)
    return "over" if slow else "PASS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for m, n_rows in ((2, 2), (3, 9)):
        gramian = conflicting(m, np.random.default_rng(0))
        lines = programs(m, n_rows, gramian) | decisions(m, gramian) | of_torchjd(gramian)
        for timed in lines.values():
            timed.call()
        times: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(given.repeats):
            for name, timed in lines.items():
                times[name].append(microseconds(timed))
        medians = {name: statistics.median(found) for name, found in times.items()}
        least = (gramian - np.diag(np.diag(gramian))).min() / gramian.diagonal().mean()
        print(
            f"m = {m}, {n_rows} rows, least product of two gradients {least:.2f} of the mean squared length;"
        )
        print(f"  at most {BUDGET[m]:.0f} us a program, at least {LEAST_SPEEDUP:.0f} times faster than cvxpy")
        for name, timed in lines.items():
            speedup = None if timed.reference is None else medians[timed.reference] / medians[name]
            ratio = "" if speedup is None else f"cvxpy / this {speedup:7.1f}"
            end = verdict(timed, medians[name], speedup, m)
            print(f"  {name:32s} {medians[name]:9.1f} us  {ratio:22s} {end}".rstrip())


if __name__ == "__main__":
    main()
