"""VLMOP2: two losses with a concave front that is known in closed form (Van Veldhuizen and Lamont, 1999)."""

from collections.abc import Callable, Sequence

import numpy as np

from psst.pareto import Method, StepState
from psst.pareto.coordinates import centered_log
from psst.pareto.ray_set import RaySet

N_PARAMS = 20


def losses_and_gradients(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``1 - exp(-||x -+ 1/sqrt(n)||^2)``: ``[runs, 2]`` losses and ``[runs, 2, n]`` gradients."""
    center = np.full(points.shape[1], 1.0 / np.sqrt(points.shape[1]))
    away = np.stack([points - center, points + center], axis=1)
    bell = np.exp(-np.square(away).sum(axis=2))
    return 1.0 - bell, 2.0 * bell[:, :, None] * away


def front(places: np.ndarray) -> np.ndarray:
    """Losses ``[k, 2]`` at places in [-1, 1] of the Pareto set ``place / sqrt(n) * ones``."""
    return 1.0 - np.exp(-np.square(np.stack([1.0 - places, 1.0 + places], axis=1)))


def front_distance(losses: np.ndarray) -> np.ndarray:
    """Distance ``[runs]`` to the analytic front, to the spacing of a fine grid."""
    grid = front(np.linspace(-1.0, 1.0, 20001))
    return np.array([np.sqrt(np.square(grid - point).sum(axis=1).min()) for point in losses])


def rays_on_front(n_rays: int) -> RaySet:
    """Constant rays at equal distances in log-ratio between two points near the ends of the front."""
    grid = np.linspace(-0.95, 0.95, 20001)
    ratios = np.log(front(grid)) @ np.array([0.5, -0.5])
    wanted = np.linspace(ratios.min(), ratios.max(), n_rays)
    return RaySet.constant(np.stack([wanted, -wanted], axis=1))


def descend(
    methods: Sequence[Method],
    starts: np.ndarray,
    step_sizes: np.ndarray,
    noise: float = 0.0,
    problem: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = losses_and_gradients,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Plain gradient descent of all runs side by side; final losses ``[runs, m]`` and the largest KKT gap.

    Args:
        methods: One started method a run.
        starts: ``[runs, n]``.
        step_sizes: ``[steps]``.
        noise: Length of the Gaussian error of each task gradient, relative to the gradient's own.
        problem: Points to losses and gradients.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    points, gap = starts.copy(), 0.0
    for step, size in enumerate(step_sizes):
        losses, gradients = problem(points)
        if noise:
            error = rng.standard_normal(gradients.shape) / np.sqrt(gradients.shape[2])
            gradients = gradients + noise * np.linalg.norm(gradients, axis=2, keepdims=True) * error
        gramians, logs = gradients @ gradients.transpose(0, 2, 1), np.log(losses)
        for run, method in enumerate(methods):
            decision = method.decide(StepState(gramians[run], losses[run], logs[run], step))
            points[run] -= size * decision.weights @ gradients[run]
            gap = max(gap, decision.kkt_gap)
    return problem(points)[0], gap


def in_own_sector(rays: RaySet, losses: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Whether each run's losses lie in the Voronoi cell of its ray."""
    cells = [rays.sector(centered_log(np.log(point)), 0) for point in losses]
    return np.array(cells) == np.array(indices)
