"""Preference with convex constraints of the user's own on the weights."""

import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from psst.pareto import RayMethod, RaySet, Solution, StepState
from psst.pareto.least_squares import Array, factor, identity
from psst.pareto.methods.base import share
from psst.pareto.solver import RIDGE, scaled
from psst.pareto.subproblem import Aim

_TOLERANCE = 1e-9
"""Violation of a constraint, in units of the constraint, that counts as none."""
_PRECISION = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
_INACCURATE = 1e-6
"""Gap of the program, relative to the Gramian's trace, above which its answer is not used."""


class Convex(RayMethod):
    """The weights nearest to the ray's target under any convex constraints, as `psst.pareto.Preference`.

    ``min (a - target)^T (G / trace + ridge I) (a - target)`` subject to ``sum a = 1``, ``a >= 0``,
    ``a_0 >= min_main_share`` and the user's constraints. Solved by cvxpy (CLARABEL) in
    milliseconds: linear constraints are better off as ``rows`` of `Preference`, exact and in microseconds. In
    a step whose program fails, the feasible weights of the step before are kept, counted as skipped.

    ``kkt_gap`` is measured by a second program, whatever the solver says of the first: how far the slope of
    the objective still leads down within the constraints. Certificates beside those of `Preference`:
    ``violation``, the largest of a constraint, and ``solve_ms``.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.
        constraints: Import path of a function that takes a cvxpy Variable ``[m]``, the weights, and returns a
            sequence of cvxpy constraints, such as ``my_package.my_module.my_constraints``.
        min_main_share: Least weight of the main task, in [0, 1].
        least_share: As with Preference.

    Raises:
        ValueError: `min_main_share` is outside [0, 1], or `constraints` names no function.
    """

    def __init__(
        self,
        rays: RaySet | str | Path,
        index: int,
        constraints: str,
        min_main_share: float = 0.0,
        least_share: float = 0.0,
    ) -> None:
        share("min_main_share", min_main_share, "0 asks for nothing")
        share("least_share", least_share, "0 asks for nothing")
        super().__init__(rays, index, least_share)
        self.constraints = constraints
        self.min_main_share = min_main_share
        _function(constraints)

    def start(self, n_tasks: int) -> None:
        """Build the programs and look for any weights; ValueError if there are none."""
        super().start(n_tasks)
        self._program = _Program(self.constraints, n_tasks, self.min_main_share)
        equal = np.full(n_tasks, 1.0 / n_tasks)
        found = self._program.solve(np.eye(n_tasks), equal)
        if found is None:
            raise ValueError(
                f"`constraints={self.constraints}` and `min_main_share={self.min_main_share}` leave no "
                f"weights of {n_tasks} tasks with sum 1 and none negative; loosen one of them."
            )
        self._feasible = found.weights

    def _solve(
        self, state: StepState, aim: Aim, centered: Array, given_up: bool
    ) -> tuple[Solution, dict[str, float | Array]]:
        """The nearest weights to the target that satisfy the constraints, and how that went."""
        before = time.perf_counter()
        assert state.gramian is not None
        normalized = scaled(state.gramian)
        root = identity(len(aim.target))
        if normalized is not None:
            root = factor(normalized + RIDGE * root)
        found = self._program.solve(root, aim.target)
        status = "optimal" if found is not None and normalized is not None else "skipped"
        found = found or Solution(self._feasible, 0.0)
        self._feasible = found.weights
        own: dict[str, float | Array] = {
            "violation": self._program.violation(found.weights),
            "solve_ms": 1000.0 * (time.perf_counter() - before),
        }
        gap = 0.0 if status == "skipped" else found.kkt_gap
        return Solution(found.weights, gap, status), own


class _Program:
    """The program of a step, compiled once.

    Args:
        constraints: Import path of the user's function.
        n_tasks: Number m of weights.
        min_main_share: Least weight of task 0.

    Raises:
        ValueError: What the function returns are no convex constraints on ``[m]`` weights.
    """

    def __init__(self, constraints: str, n_tasks: int, min_main_share: float) -> None:
        self._cp = _cvxpy()
        self._weights = self._cp.Variable(n_tasks)
        self._root = self._cp.Parameter((n_tasks, n_tasks))
        self._aim = self._cp.Parameter(n_tasks)
        self._constraints = [self._weights >= 0.0, self._weights[0] >= min_main_share]
        self._constraints += _returned(constraints, self._weights)
        every = [*self._constraints, self._cp.sum(self._weights) == 1.0]
        self._slope = self._cp.Parameter(n_tasks)
        distance = self._cp.sum_squares(self._root @ self._weights - self._aim)
        self._problem = self._cp.Problem(self._cp.Minimize(distance), every)
        self._descent = self._cp.Problem(self._cp.Minimize(self._slope @ self._weights), every)
        if not self._problem.is_dcp():
            raise ValueError(
                f"`constraints={constraints}` must be convex by cvxpy's rules (DCP), found "
                f"{[str(each) for each in _returned(constraints, self._weights) if not each.is_dcp()]}; "
                "rewrite them with cvxpy's atoms."
            )

    def solve(self, root: Array, target: Array) -> Solution | None:
        """The nearest weights to `target` in the metric ``root^T root``; None if there are none.

        Args:
            root: ``[m, m]``.
            target: ``[m]``, of sum 1; the answer itself if it satisfies the constraints.
        """
        if self.violation(target) <= 0.0:
            return Solution(target.copy(), 0.0)
        self._root.value, self._aim.value = root, root @ target
        nearest = self._minimizer(self._problem)
        if nearest is None:
            return None
        weights = _clean(nearest)
        gap = self.violation(weights) + self._gap(root.T @ (root @ (weights - target)), weights)
        return Solution(weights, gap) if gap <= _INACCURATE else None

    def _gap(self, slope: Array, weights: Array) -> float:
        """How much the slope of the objective would still gain on the way to any feasible weights."""
        size = float(np.abs(slope).max())
        if size == 0.0:
            return 0.0
        self._slope.value = slope / size
        lowest = self._minimizer(self._descent)
        return np.inf if lowest is None else max(float(slope @ (weights - lowest)), 0.0)

    def _minimizer(self, problem: Any) -> Array | None:
        try:
            with warnings.catch_warnings():  # of inaccuracy: the gap says how much, and is checked
                warnings.simplefilter("ignore", UserWarning)
                problem.solve(solver=self._cp.CLARABEL, **_PRECISION)
        except self._cp.SolverError:
            return None
        solved = problem.status in ("optimal", "optimal_inaccurate")
        return np.array(self._weights.value, dtype=np.float64) if solved else None

    def violation(self, weights: Array) -> float:
        """The largest violation of a constraint but the sum; up to `_TOLERANCE` counts as 0."""
        self._weights.value = weights
        largest = max(float(np.max(each.violation())) for each in self._constraints)
        return largest if largest > _TOLERANCE else 0.0


def _clean(weights: Array) -> Array:
    """Take away the rounding: nothing below 0, sum 1."""
    positive = np.maximum(weights, 0.0)
    shares: Array = positive / positive.sum()
    return shares


def _function(path: str) -> Callable[[Any], Sequence[Any]]:
    module, _, name = path.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`constraints={path}` cannot be imported: {error}; give the path of a function such as "
            "`my_module.my_constraints`, with its folder on PYTHONPATH."
        ) from error
    if not callable(function):
        raise ValueError(f"`constraints={path}` must be a function, found {type(function).__name__}.")
    return cast(Callable[[Any], Sequence[Any]], function)


def _returned(path: str, weights: Any) -> list[Any]:
    """What the user's function says, known to be constraints."""
    constraint = import_module("cvxpy.constraints.constraint").Constraint
    try:
        returned = list(_function(path)(weights))
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"`constraints={path}` fails for {weights.shape[0]} weights: {error}; it has to take a cvxpy "
            "Variable [m] and return a list of constraints."
        ) from error
    wrong = [type(each).__name__ for each in returned if not isinstance(each, constraint)]
    if wrong:
        raise ValueError(
            f"`constraints={path}` must return cvxpy constraints, found {', '.join(wrong)}; compare "
            "expressions of the variable by <=, >= or ==."
        )
    return returned


def _cvxpy() -> Any:
    try:
        return import_module("cvxpy")
    except ImportError as error:
        raise ImportError("psst.balancers.Convex needs cvxpy; `pip install cvxpy`.") from error
