"""The region: neighbors of the best that are not significantly worse."""

from itertools import pairwise

import numpy as np
import pytest

from psst.search.region import neighbors, region


@pytest.mark.parametrize("seed", range(5))
def test_on_a_line_neighbors_are_the_adjacent_points(seed):
    positions = np.random.default_rng(seed).normal(size=8)
    points = np.column_stack([positions, -positions])
    order = np.argsort(positions)
    expected = {tuple(sorted(map(int, pair))) for pair in pairwise(order)}
    assert set(neighbors(points)) == expected


def test_every_point_of_a_plane_has_a_neighbor():
    points = np.random.default_rng(0).normal(size=(12, 3))
    assert {i for pair in neighbors(points) for i in pair} == set(range(12))


def scores(mean: float, common: np.ndarray, wave: int) -> np.ndarray:
    """Accuracies with an exact mean whose paired noise (0.1, a square wave of its own) averages to zero."""
    return mean + common - common.mean() + 0.1 * (-1.0) ** (np.arange(len(common)) // 2**wave)


def test_the_region_is_one_run_round_the_best():
    """Paired standard error 0.003: 0.002 below the best is not significant, 0.1 is."""
    common = np.random.default_rng(9).normal(scale=0.1, size=2048)
    means = [0.601, 0.500, 0.600, 0.602, 0.601, 0.500]
    points = np.column_stack([np.arange(6.0), -np.arange(6.0)])
    accuracies = [scores(mean, common, wave) for wave, mean in enumerate(means)]
    assert region(points, accuracies) == [2, 3, 4]


def test_the_region_does_not_depend_on_the_order_of_the_candidates():
    common = np.random.default_rng(9).normal(scale=0.1, size=512)
    means = [0.52, 0.60, 0.601, 0.53]
    points = np.column_stack([np.arange(4.0), -np.arange(4.0)])
    accuracies = [scores(mean, common, wave) for wave, mean in enumerate(means)]
    straight = region(points, accuracies)
    backwards = region(points[::-1], accuracies[::-1])
    assert sorted(3 - i for i in backwards) == straight
