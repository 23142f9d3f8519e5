"""The region: neighbors of the best that are not significantly worse."""

from itertools import pairwise

import numpy as np
import pytest

from psst.evaluation import EpisodeScores
from psst.search.episode_judge import region
from psst.search.explore import neighbors

WAY, CLASSES = 5, 40


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


def classes(n, n_classes=CLASSES):
    return np.argsort(np.random.default_rng(3).random((n, n_classes)), axis=1)[:, :WAY]


def scored(accuracies, class_ids=None):
    ids = None if class_ids is None else class_ids.astype(np.int32)
    accuracies = accuracies.astype(np.float32)
    return {"all": EpisodeScores(accuracies, 1 - accuracies, "stream", 0, WAY, 1, 15, ids)}


def scores(mean: float, common: np.ndarray, wave: int) -> dict[str, EpisodeScores]:
    """Accuracies with an exact mean whose paired noise (0.1, a square wave of its own) averages to zero."""
    noise = 0.1 * (-1.0) ** (np.arange(len(common)) // 2**wave)
    return scored(mean + common - common.mean() + noise, classes(len(common)))


def test_the_region_is_one_run_round_the_best():
    """Paired standard error 0.003: 0.002 below the best is not significant, 0.1 is."""
    common = np.random.default_rng(9).normal(scale=0.1, size=2048)
    means = [0.601, 0.500, 0.600, 0.602, 0.601, 0.500]
    points = np.column_stack([np.arange(6.0), -np.arange(6.0)])
    candidates = [scores(mean, common, wave) for wave, mean in enumerate(means)]
    assert region(points, candidates) == [2, 3, 4]


def test_the_region_does_not_depend_on_the_order_of_the_candidates():
    common = np.random.default_rng(9).normal(scale=0.1, size=512)
    means = [0.52, 0.60, 0.601, 0.53]
    points = np.column_stack([np.arange(4.0), -np.arange(4.0)])
    candidates = [scores(mean, common, wave) for wave, mean in enumerate(means)]
    straight = region(points, candidates)
    backwards = region(points[::-1], candidates[::-1])
    assert sorted(3 - i for i in backwards) == straight


def test_few_classes_prove_less_than_their_episodes_seem_to():
    """A gap of 0.01 that varies by 0.05 from class to class, 10,000 episodes of 12 classes."""
    rng = np.random.default_rng(0)
    ids = classes(10_000, n_classes=12)
    by_class = rng.normal(size=12)
    by_class = 0.01 + 0.05 * (by_class - by_class.mean()) / by_class.std()
    best, other = np.full(len(ids), 0.8), 0.8 - by_class[ids].mean(axis=1)
    points = np.array([[0.0, 0.0], [1.0, -1.0]])
    assert region(points, [scored(best), scored(other)]) == [0]  # the classes are not known
    assert region(points, [scored(best, ids), scored(other, ids)]) == [0, 1]
