"""Fronts with gaps, flat losses, twins and scales a million apart: in sector, or given up and said so."""

from dataclasses import replace

import numpy as np
import pytest

from psst.pareto import Preference, Ray
from tests.pareto.descent import Conditions, descend
from tests.pareto.odd_problems import a_million_apart, disconnected, flat_third, odd_ending, two_alike

SEEDS = [1, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_seeds", SEEDS)
@pytest.mark.parametrize("kind", [Preference, Ray])
@pytest.mark.parametrize("maker", [disconnected, flat_third, two_alike, a_million_apart])
def test_runs_end_in_every_sector_that_holds_a_point_of_the_front(maker, kind, n_seeds):
    """Elsewhere they give up, unless the sector holds a piece of curve that is a front to its neighbors."""
    found = odd_ending(maker(), kind, n_seeds)
    assert found.inside[found.held].all()
    assert not found.given_up[found.held].any()
    np.testing.assert_array_equal(found.given_up[~found.held], ~found.inside[~found.held])
    assert found.inside[~found.held].sum() == 0 or maker is disconnected
    assert np.median(found.distance[found.held]) <= 3e-3


def test_a_factor_of_a_million_changes_no_run():
    """Rays and their default priors move with the loss, and so do the weights."""
    problem = a_million_apart()
    endings = []
    for scale in (1.0, 1e6):
        scaled = replace(problem, scale=np.array([scale, 1.0]))
        rays = scaled.rays(6)
        methods = [Preference(rays, index) for index in (2, 3)]
        starts = problem.starts(0)[None].repeat(2, axis=0)
        endings.append(descend(scaled, methods, starts, Conditions(adam=True)).losses / [scale, 1.0])
    np.testing.assert_allclose(*endings, rtol=0.2)
