"""Tilted weights, and then no loss of this very batch rises."""

from psst.pareto.cones import project
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import StepState
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.solver import Solution
from psst.pareto.subproblem import Aim


class Project(RayMethod):
    """Dual cone projection of the target's direction: the nearest one along which no loss rises.

    The target is that of `Preference`. Where its direction raises a loss to first order, tasks gain weight
    until it does not, ``min ||J^T (a - target)||`` subject to ``G a >= 0``, and the weights are brought to
    sum 1. Every step decides by the Gramian of its own batch, whose off-diagonal entries are mostly noise in
    deep networks: `Preference` with its denoised conflict rows is the calmer choice. Where it meets the front
    it stops, on the ray or not, for along the front some loss rises.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.

    Source:
        Lopez-Paz and Ranzato, Gradient Episodic Memory, 2017, eq. 11, with every task as its own constraint.
        Departures: the projected vector is a tilted mixture; weights of sum 1.
    """

    def _solve(
        self, state: StepState, aim: Aim, centered: Array, given_up: bool
    ) -> tuple[Solution, dict[str, float | Array]]:
        """The projected target."""
        solution = project(state.gramian, aim.target)
        self._note_held(solution.weights, aim)
        return solution, {}
