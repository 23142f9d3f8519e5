"""Fronts with gaps, flat losses, twins and scales a million apart: in sector, or given up and said so."""

import numpy as np
import pytest

from psst.pareto import Preference, Ray
from tests.pareto.descent import Conditions, descend
from tests.pareto.odd_problems import a_million_apart, disconnected, flat_third, held, rays_of, two_alike
from tests.pareto.problems import in_own_sector

SEEDS = [1, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_seeds", SEEDS)
@pytest.mark.parametrize("kind", [Preference, Ray])
@pytest.mark.parametrize("maker", [disconnected, flat_third, two_alike, a_million_apart])
def test_runs_end_in_every_sector_that_holds_a_point_of_the_front(maker, kind, n_seeds):
    """Elsewhere they give up, unless the sector holds a piece of curve that is a front to its neighbors."""
    problem = maker()
    rays = rays_of(problem)
    every = np.arange(0, len(rays), 3 if maker is disconnected else 1)
    indices = np.tile(every, n_seeds)
    starts = np.stack([problem.starts(seed) for seed in range(n_seeds)]).repeat(len(every), axis=0)
    conditions = Conditions(adam=maker is a_million_apart)
    ending = descend(problem, [kind(rays, int(index)) for index in indices], starts, conditions)
    inside = in_own_sector(rays, ending.losses, indices)
    on_front = held(problem, rays.at(0))[indices]
    assert inside[on_front].all()
    assert not ending.unreachable[on_front].any()
    np.testing.assert_array_equal(ending.unreachable[~on_front], ~inside[~on_front])
    assert inside[~on_front].sum() == 0 or maker is disconnected
    assert np.median(problem.front_distance(ending.losses[on_front])) <= 3e-3


def test_a_factor_of_a_million_changes_no_run():
    """Rays and their default priors move with the loss, and so do the weights."""
    problem = a_million_apart()
    endings = []
    for scale in (1.0, 1e6):
        scaled = a_million_apart().__class__(**{**vars(problem), "scale": np.array([scale, 1.0])})
        rays = scaled.rays(6)
        methods = [Preference(rays, index) for index in (2, 3)]
        starts = problem.starts(0)[None].repeat(2, axis=0)
        endings.append(descend(scaled, methods, starts, Conditions(adam=True)).losses / [scale, 1.0])
    np.testing.assert_allclose(*endings, rtol=0.2)
