from math import comb

import numpy as np
import pytest

from psst.pareto import RaySet, das_dennis


@pytest.mark.parametrize(("m", "divisions"), [(1, 3), (2, 1), (2, 9), (3, 4), (5, 3), (10, 2)])
@pytest.mark.parametrize("inset", [0.0, 0.1, 1.0])
def test_lattice_points_lie_on_the_simplex_and_are_closed_under_permutation(m, divisions, inset):
    points = das_dennis(m, divisions, inset)
    assert points.shape == (comb(divisions + m - 1, m - 1), m)
    np.testing.assert_allclose(points.sum(axis=1), 1.0)
    assert (points >= inset / m - 1e-15).all()
    turned = np.roll(points, 1, axis=1)
    assert {tuple(row) for row in points.round(9)} == {tuple(row) for row in turned.round(9)}


def test_lattice_is_evenly_spread():
    points = das_dennis(3, 4, 0.2)
    gaps = np.linalg.norm(points[:, None] - points, axis=2) + np.eye(len(points))
    np.testing.assert_allclose(gaps.min(axis=1), 0.8 * np.sqrt(2.0) / 4.0)


@pytest.mark.parametrize(("arguments", "name"), [((0, 4), "n_tasks=0"), ((3, 0), "divisions=0")])
def test_lattice_needs_tasks_and_divisions(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        das_dennis(*arguments)


@pytest.mark.parametrize("inset", [-0.1, 1.1, float("nan")])
def test_inset_outside_its_range_is_named(inset):
    with pytest.raises(ValueError, match=rf"`inset={inset}` must be in \[0, 1\]"):
        das_dennis(3, 4, inset)


def test_rays_of_a_lattice_are_its_points_as_losses():
    reference = np.array([1.0, 2.0, 0.5])
    losses = das_dennis(3, 4) * reference
    rays = RaySet.from_losses(losses)
    assert (len(rays), rays.n_tasks, rays.n_steps) == (15, 3, 1)
    logs = np.log(losses)
    np.testing.assert_allclose(rays.at(0), logs - logs.mean(axis=1, keepdims=True))
    expected = 1.0 / reference / (1.0 / reference).sum()  # equal in units of the losses
    np.testing.assert_allclose(rays.priors, np.tile(expected, (15, 1)))
    assert [rays.sector(point, 0) for point in rays.at(0)] == list(range(15))


def test_points_on_the_border_have_no_ratios():
    with pytest.raises(ValueError, match=r"`losses\[0, 0\]` must be finite and positive.*got 0\.0"):
        RaySet.from_losses(das_dennis(3, 4, inset=0.0))
    with pytest.raises(ValueError, match=r"`losses\[1, 0\]` must be finite"):
        RaySet.from_losses([[1.0, 2.0], [np.nan, 1.0]])
