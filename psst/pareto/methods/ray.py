"""Exact preference: the losses end on the ray itself, not only in its sector."""

from dataclasses import replace

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import StepState
from psst.pareto.methods.ray_method import RayMethod
from psst.pareto.solver import Decision, min_norm

_FULL_BALANCE = 0.5  # distance to the ray, in log-ratios, from which on the pull is as strong as it gets
_MOST = 30.0
_LARGEST_LOG_RATIO = 200.0
"""Between a loss and the smallest, beyond which a task counts as if it were there: keeps numbers finite."""


class Ray(RayMethod):
    """Balance the losses onto the ray, and descend along it.

    Works on the gradients of the log losses, Gramian ``H = G / (L L^T)``, which no loss's scale changes. The
    weights there are the convex ones nearest to a pull toward the ray,
    ``min (b - k e)^T H (b - k e)`` over ``b >= 0, sum b = 1``, with ``e = c - ray`` and
    ``k = 1 / max(0.5, ||e||)``. ``J^T e`` is the gradient of ``||e||^2 / 2``: far away this is *balance*, its
    steepest descent among the mixtures of the losses' gradients. On the ray it is *descent*: the min-norm
    mixture, along which the logs of all losses fall at one rate, so that their ratios stay. On the front,
    where descent vanishes, the losses move along it until they are on the ray, or where it is nearest.

    The certificates ``balance`` (``k ||e||``, 1 from half a log-ratio on) and ``off_ray`` (``max |e|``) tell.
    There is no dead zone, for it is exact; noise of single batches biases the min-norm mixture, so that
    `Preference` is the choice for deep networks. A step in which a weight would be more than thirty times
    its prior is shorter by as much.

    Args:
        rays: The rays, or the npz file that holds them.
        index: Which of them.

    Example:
        >>> method = Ray(psst.pareto.RaySet.from_losses([[1.0, 3.0], [3.0, 1.0]]), index=0)
        >>> method.start(n_tasks=2)

    Source:
        Mahapatra and Rajan, Exact Pareto Optimal search, ICML 2020: balance and descent modes. Departures:
        distance to the ray in centered logs instead of a divergence of shares; no loss is raised on purpose;
        modes are blended instead of switched; one projection by non-negative least squares instead of a
        linear program.
    """

    def _solve(self, state: StepState, target: Array, centered: Array) -> Decision:
        """A blend of balance and descent."""
        assert state.gramian is not None
        error = centered - self._ray_set.at(state.step)[self.index]
        off_ray = float(np.abs(error).max())
        length = float(np.linalg.norm(error))
        pull = 0.0 if self._given_up else 1.0 / max(_FULL_BALANCE, length)
        inverse = np.exp(np.maximum(centered.min() - centered, -_LARGEST_LOG_RATIO))
        found = min_norm(state.gramian * np.outer(inverse, inverse), origin=pull * error)
        weights = found.weights * inverse
        weights = weights / weights.sum()
        weights /= max(
            1.0, float((weights / (_MOST * np.maximum(self._ray_set.priors[self.index], 1e-9))).max())
        )
        return replace(found, weights=weights, certificates={"off_ray": off_ray, "balance": pull * length})
