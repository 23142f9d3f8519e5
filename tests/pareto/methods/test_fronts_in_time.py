"""Rays taken from runs with fixed weights while losses fall, their number, and the trade-off without any."""

import numpy as np
import pytest

from psst.pareto import FixedWeights, Preference, RaySet, Tradeoff, Trajectory, rays_between
from tests.pareto.descent import Conditions, descend, step_sizes
from tests.pareto.problems import Problem, in_own_sector, isotropic, weighted

AUXILIARY = [0.0, 0.1, 0.3, 1.0, 3.0]


def falling(problem: Problem, longer: float = 1.0) -> np.ndarray:
    """``[steps, m]`` factors: all losses fall, the main one fastest, so that every ratio moves."""
    time = np.linspace(0.0, 1.0, len(step_sizes(problem, Conditions(longer=longer))))[:, None]
    return np.exp(-time * np.linspace(2.0, 0.5, problem.n_tasks))


def anchors_of(problem: Problem, conditions: Conditions, weights: list) -> list[Trajectory]:
    """Runs with fixed weights from one start on one stream of batches."""
    methods = [FixedWeights(weight) for weight in weights]
    starts = problem.starts(0)[None].repeat(len(methods), axis=0)
    logs = descend(problem, methods, starts, conditions).logs
    shares = np.array([np.r_[1.0, np.broadcast_to(weight, problem.n_tasks - 1)] for weight in weights])
    return [Trajectory(logs[:, run], 0, share) for run, share in enumerate(shares)]


@pytest.mark.parametrize("noise", [0.0, 0.07])
@pytest.mark.parametrize("make", [isotropic, weighted])
def test_rays_between_anchors_are_reached_while_the_losses_fall(make, noise):
    problem = make(2).with_floor(0.1)
    conditions = Conditions(loss_noise=noise, ema=0.95, paired=True, trend=falling(problem, 3.0), longer=3.0)
    rays = rays_between(anchors_of(problem, conditions, AUXILIARY))
    assert len(rays) >= 3
    assert np.abs(rays.at(0) - rays.at(rays.n_steps)).max() > 0.3  # they do move
    methods = [Preference(rays, index) for index in range(len(rays))]
    starts = problem.starts(0)[None].repeat(len(rays), axis=0)
    ending = descend(problem, methods, starts, conditions)
    assert in_own_sector(rays, ending.losses, np.arange(len(rays)), rays.n_steps).all()
    assert not ending.unreachable.any()
    assert problem.front_distance(ending.losses / conditions.trend[-1]).max() <= 1e-2


@pytest.mark.parametrize("m", [2, 3])
def test_number_of_rays_follows_from_the_resolution(m):
    """More noise leaves fewer rays, never none, and no two nearer than 4 standard deviations."""
    problem = isotropic(m).with_floor(1.0)
    small, large = 0.1, 1.0
    weights = (
        AUXILIARY if m == 2 else [0.0, [small, 0.0], [0.0, small], [small, small], [large, 0.3], [0.3, large]]
    )
    counts = []
    for noise in (0.0, 0.02, 0.1, 0.5, 3.0):
        conditions = Conditions(loss_noise=0.0, ema=0.0)
        anchors = anchors_of(problem, conditions, weights)
        rng = np.random.default_rng(0)
        noisy = [
            Trajectory(
                run.log_losses + noise * 0.05 * rng.standard_normal(run.log_losses.shape), 0, run.weights
            )
            for run in anchors
        ]
        rays = rays_between(noisy)
        counts.append(len(rays))
        last = rays.at(rays.n_steps // 2)
        apart = np.abs(last[:, None] - last).max(axis=2) + 1e9 * np.eye(len(rays))
        assert apart.min() >= 3.0 * rays.sd  # at one step; on average over the last half it is 4
        assert (rays.priors.sum(axis=1) > 0.999).all()
    assert counts == sorted(counts, reverse=True)
    assert counts[0] >= m + 1
    assert counts[-1] == 1


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("make", [lambda: isotropic(2), lambda: weighted(2), lambda: isotropic(3)])
def test_tradeoff_orders_the_ends(make, noisy):
    """The larger it is, the higher the main loss ends beside the others: 0 < 0.25 < 0.5 < 0.75 < 1."""
    problem = make().with_floor(1.0)  # a loss that can vanish is all that its own units leave to care for
    conditions = Conditions(loss_noise=0.07, ema=0.99, longer=5.0) if noisy else Conditions()
    methods = [Tradeoff(value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    ending = descend(problem, methods, problem.starts(0)[None].repeat(5, axis=0), conditions)
    assert (np.diff(ending.losses[:, 0]) > 0.0).all()
    assert (np.diff(ending.losses[1:, 1:].mean(axis=1)) < 0.0).all()


def test_moving_rays_are_followed_beyond_their_recorded_end():
    """A run longer than the anchors stays at the last rays."""
    problem = isotropic(2).with_floor(0.1)
    anchors = anchors_of(problem, Conditions(), AUXILIARY)
    short = [Trajectory(run.log_losses[:200], 0, run.weights) for run in anchors]
    rays: RaySet = rays_between(short)
    methods = [Preference(rays, index) for index in range(len(rays))]
    ending = descend(problem, methods, problem.starts(0)[None].repeat(len(rays), axis=0))
    assert in_own_sector(rays, ending.losses, np.arange(len(rays)), 399).all()
