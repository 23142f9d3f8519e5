"""Rays from anchors: points between runs with fixed weights on one batch stream."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.ray_set import RaySet
from psst.pareto.trajectory import Trajectory

_COINCIDENT = 1e-6  # log-ratio below which rays are one even without noise


def rays_between(trajectories: Sequence[Trajectory]) -> RaySet:
    """Rays between neighboring anchors: log midpoints at the same step, geometric means of their weights.

    Rays nearer to each other than 4 standard deviations of the measured noise are merged.

    Args:
        trajectories: Anchors on the same batches, ordered by auxiliary weight, with the same first step.

    Returns:
        K >= 1 rays over the steps that all anchors share, in the order of the anchors.

    Raises:
        ValueError: If there are fewer than two anchors, or they differ in m or in their first step.
    """
    _check(trajectories)
    steps = min(len(trajectory.log_losses) for trajectory in trajectories)
    centered = [centered_log(trajectory.log_losses[:steps]) for trajectory in trajectories]
    noise = _paired_noise([second - first for first, second in pairwise(centered)])
    points = [(first + second) / 2 for first, second in pairwise(centered)]
    priors = [_between(first.weights, second.weights) for first, second in pairwise(trajectories)]
    points, priors = _merge(points, priors, max(RaySet.RESOLUTION * float(noise.max()), _COINCIDENT))
    return RaySet(np.stack(points), trajectories[0].first_step, np.stack(priors), noise)


def _paired_noise(differences: Sequence[Array]) -> Array:
    """``[m]`` spread of two runs' difference round a line, late; the median over pairs, 0 for few steps."""
    late = np.stack([difference[len(difference) // 2 :] for difference in differences])
    n_late = late.shape[1]
    if n_late < 4:
        return np.zeros(late.shape[2])
    time = np.linspace(-1.0, 1.0, n_late)
    centered = late - late.mean(axis=1, keepdims=True)
    slopes = np.einsum("s,psm->pm", time, centered) / (time @ time)
    residual = centered - slopes[:, None] * time[:, None]
    spread: Array = np.median(np.sqrt((residual**2).sum(axis=1) / (n_late - 2)), axis=0)
    return spread


def _separation(first: Array, second: Array) -> float:
    """Distance of two ``[steps, m]``: largest coordinate of their mean difference in the last half."""
    late = len(first) // 2
    return float(np.abs((first[late:] - second[late:]).mean(axis=0)).max())


def _merge(
    points: Sequence[Array], priors: Sequence[Array], closest: float
) -> tuple[list[Array], list[Array]]:
    """Merge the nearest two of K rays ``[steps, m]`` with their priors until none are nearer than allowed."""
    points, priors, members = list(points), list(priors), [1] * len(points)
    while len(points) > 1:
        couples = [(_separation(points[i], points[j]), i, j) for j in range(len(points)) for i in range(j)]
        distance, i, j = min(couples)
        if distance >= closest:
            break
        share = members[i] / (members[i] + members[j])
        points[i] = share * points[i] + (1.0 - share) * points[j]
        priors[i] = _normalized(priors[i] ** share * priors[j] ** (1.0 - share))
        members[i] += members[j]
        del points[j], priors[j], members[j]
    return points, priors


def _between(first: Array, second: Array) -> Array:
    """The geometric mean of weights; one that is zero counts as a third of the neighbor's."""
    product = np.where(first > 0.0, first, second / 3.0) * np.where(second > 0.0, second, first / 3.0)
    return _normalized(np.sqrt(product))


def _normalized(weights: Array) -> Array:
    normalized: Array = weights / weights.sum()
    return normalized


def _check(trajectories: Sequence[Trajectory]) -> None:
    if len(trajectories) < 2:
        raise ValueError(
            f"`trajectories` needs two anchors at least, got {len(trajectories)}; add an anchor weight."
        )
    kinds = sorted({(trajectory.first_step, trajectory.log_losses.shape[1]) for trajectory in trajectories})
    if len(kinds) > 1:
        raise ValueError(
            f"`trajectories` must share their first step and number of tasks, got (first step, m) {kinds}; "
            "start every anchor from the same warm start."
        )
