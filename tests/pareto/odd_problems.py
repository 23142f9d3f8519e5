"""Problems whose fronts have gaps, a loss that cannot move, two losses alike, or scales a million apart."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from psst.pareto import Method, RaySet
from psst.pareto.coordinates import centered_log
from tests.pareto.descent import Conditions, descend
from tests.pareto.problems import Array, Problem, in_own_sector, isotropic


def disconnected() -> Problem:
    """ZDT3 (Zitzler, Deb and Thiele, 2000) over a floor, in coordinates without bounds: five pieces.

    ``f_1 = (1 + sin x_1) / 2`` and ``f_2 = g (2 - sqrt(f_1) - f_1 sin(10 pi f_1))`` with
    ``g = 1 + sum x_j^2``. Runs start beyond the right end: from there each piece is downhill, while from the
    left a descent comes no farther than the first.
    """

    def evaluate(points: Array) -> tuple[Array, Array]:
        first = 0.5 + 0.5 * np.sin(points[:, 0])
        away = 1.0 + np.square(points[:, 1:]).sum(axis=1)
        d_first = np.zeros_like(points)
        d_first[:, 0] = 0.5 * np.cos(points[:, 0])
        d_second = (away * _slope(first))[:, None] * d_first
        d_second[:, 1:] = 2.0 * points[:, 1:] * _curve(first)[:, None]
        losses = np.stack([first, away * _curve(first)], axis=1)
        return losses, np.stack([d_first, d_second], axis=1)

    places = np.linspace(1e-4, 0.9, 20001)
    falling = np.minimum.accumulate(_curve(places)) >= _curve(places)
    front = np.stack([places, _curve(places)], axis=1)[falling]
    low, high = np.array([0.9, -0.5, -0.5]), np.array([1.1, 0.5, 0.5])
    return Problem("disconnected", evaluate, low, high, front, 0.02, 2000).with_floor(0.05)


def _curve(first: Array) -> Array:
    return 2.0 - np.sqrt(first) - first * np.sin(10.0 * np.pi * first)


def _slope(first: Array) -> Array:
    angle = 10.0 * np.pi * first
    return -0.5 / np.sqrt(np.maximum(first, 1e-12)) - np.sin(angle) - angle * np.cos(angle)


def flat_third() -> Problem:
    """Two wells, and a third loss that nothing changes."""
    return _with_third("a flat third loss", lambda losses: np.full(len(losses), 0.3), 0.0)


def two_alike() -> Problem:
    """Two wells, the second counted twice."""
    return _with_third("two alike of three", lambda losses: losses[:, 1], 1.0)


def a_million_apart() -> Problem:
    """Two wells, the main one a million times as deep; for Adam."""
    problem = isotropic(2)
    return replace(problem, name="one loss x 1e6", scale=np.array([1e6, 1.0]), step=0.2, n_steps=1000)


def _with_third(name: str, third: object, slope: float) -> Problem:
    pair = isotropic(2)

    def evaluate(points: Array) -> tuple[Array, Array]:
        losses, gradients = pair.base(points)
        more = np.concatenate([losses, third(losses)[:, None]], axis=1)
        return more, np.concatenate([gradients, slope * gradients[:, 1:]], axis=1)

    front = np.concatenate([pair.front, third(pair.front)[:, None]], axis=1)
    places = np.concatenate([pair.ray_losses(6), third(pair.ray_losses(6))[:, None]], axis=1)
    return replace(pair, name=name, base=evaluate, front=front, places=places, n_steps=1000)


def rays_of(problem: Problem) -> RaySet:
    """Rays through the front and, where there is room, beside it."""
    if problem.name == "disconnected":
        ratios = centered_log(np.log(problem.front + problem.floor))[:, 0]
        places = np.linspace(ratios.min(), ratios.max(), 32)
        points = np.stack([places, -places], axis=1)
    elif problem.n_tasks == 2:
        return problem.rays(6)
    else:
        on = centered_log(np.log(problem.places))
        beside = on[[1, 4]] + 0.8 * np.array([[-1.0, -1.0, 2.0], [1.0, 1.0, -2.0]])
        points = np.concatenate([on, beside])
    return RaySet.constant(points).lasting(problem.n_steps)


def held(problem: Problem, rays: Array) -> Array:
    """``[K]`` whether each ray's Voronoi cell holds a point of the front.

    Args:
        problem: Of the front.
        rays: ``[K, m]`` in centered log coordinates.
    """
    front = centered_log(np.log(problem.scale * problem.front + problem.floor))
    cells = np.square(front[:, None] - rays).sum(axis=2).argmin(axis=1)
    return np.isin(np.arange(len(rays)), cells)


@dataclass(frozen=True)
class OddEnding:
    """Where runs ended, ``[rays x seeds]`` each.

    Attributes:
        held: Whether the run's sector holds a point of the front.
        inside: Whether it ended there.
        given_up: Whether it has said that it gave up.
        distance: To the front.
    """

    held: Array
    inside: Array
    given_up: Array
    distance: Array


def odd_ending(problem: Problem, kind: Callable[[RaySet, int], Method], n_seeds: int) -> OddEnding:
    """Every ray of a problem (every third of the many of the disconnected one) from every start."""
    rays = rays_of(problem)
    every = np.arange(0, len(rays), 3 if len(rays) > 20 else 1)
    indices = np.tile(every, n_seeds)
    starts = np.stack([problem.starts(seed) for seed in range(n_seeds)]).repeat(len(every), axis=0)
    conditions = Conditions(adam=problem.scale.max() > 1.0)
    ending = descend(problem, [kind(rays, int(index)) for index in indices], starts, conditions)
    return OddEnding(
        held(problem, rays.at(0))[indices],
        in_own_sector(rays, ending.losses, indices),
        ending.unreachable,
        problem.front_distance(ending.losses),
    )
