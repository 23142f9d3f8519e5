"""Preference with convex constraints of the user's own on the weights."""

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

_INACCURATE = 1e-6
"""Largest violation of a constraint, in its units, with which an answer is used."""
_PRECISION = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


class Convex(RayMethod):
    """The weights nearest to the ray's target under any convex constraints, as `psst.pareto.Preference`.

    ``min (a - target)^T (G / trace + ridge I) (a - target)`` subject to ``sum a = 1``, ``a >= 0``,
    ``a_0 >= min_main_share`` and the user's constraints. Solved by cvxpy (CLARABEL) in milliseconds: linear
    constraints are better off as ``rows`` of `Preference`, exact and in microseconds. In a step whose program
    fails, the feasible weights of the step before are kept, counted as skipped. ``kkt_gap`` is the largest
    violation of a constraint.

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
        """Build the program and look for any weights; ValueError if there are none."""
        super().start(n_tasks)
        cp = _cvxpy()
        self._weights, self._goal = cp.Variable(n_tasks), cp.Parameter(n_tasks)
        self._root = cp.Parameter((n_tasks, n_tasks))
        own = _returned(self.constraints, self._weights)
        self._limits = [self._weights >= 0.0, self._weights[0] >= self.min_main_share, *own]
        distance = cp.sum_squares(self._root @ self._weights - self._goal)
        self._program = cp.Problem(cp.Minimize(distance), [*self._limits, cp.sum(self._weights) == 1.0])
        if not self._program.is_dcp():
            raise ValueError(
                f"`constraints={self.constraints}` must be convex by cvxpy's rules (DCP), found "
                f"{[str(each) for each in own if not each.is_dcp()]}; rewrite them with cvxpy's atoms."
            )
        feasible = self._nearest(np.eye(n_tasks), np.full(n_tasks, 1.0 / n_tasks))
        if feasible is None:
            raise ValueError(
                f"`constraints={self.constraints}` and `min_main_share={self.min_main_share}` leave no "
                f"weights of {n_tasks} tasks with sum 1 and none negative; loosen one of them."
            )
        self._feasible = feasible

    def _solve(
        self, state: StepState, aim: Aim, centered: Array, given_up: bool
    ) -> tuple[Solution, dict[str, float | Array]]:
        """The nearest weights to the target that satisfy the constraints."""
        assert state.gramian is not None
        normalized, root = scaled(state.gramian), identity(len(aim.target))
        if normalized is not None:
            root = factor(normalized + RIDGE * root)
        found = self._nearest(root, aim.target)
        status = "skipped" if found is None or normalized is None else "optimal"
        self._feasible = self._feasible if found is None else found
        return Solution(self._feasible, self._violation(self._feasible), status), {}

    def _nearest(self, root: Array, target: Array) -> Array | None:
        """``[m]`` in the metric ``root^T root``; the target itself if it will do, None if nothing does."""
        if self._violation(target) <= 0.0:
            return target.copy()
        self._root.value, self._goal.value = root, root @ target
        try:
            with warnings.catch_warnings():  # of inaccuracy, which the largest violation tells
                warnings.simplefilter("ignore", UserWarning)
                self._program.solve(solver="CLARABEL", **_PRECISION)
        except _cvxpy().SolverError:
            return None
        if self._program.status not in ("optimal", "optimal_inaccurate"):
            return None
        positive = np.maximum(np.array(self._weights.value, dtype=np.float64), 0.0)
        weights: Array = positive / positive.sum()
        return weights if self._violation(weights) <= _INACCURATE else None

    def _violation(self, weights: Array) -> float:
        self._weights.value = weights
        return max(float(np.max(each.violation())) for each in self._limits)


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
