"""Images in groups (bursts, tracks, patients): support and query share none, in no episode of any sampler."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from psst.episodes import Episodes, EpisodeSampler, Evaluation
from psst.episodes.apart import sides
from psst.images import build_store
from tests.episodes.tiny_source import TinySource

# Groups of each class. Uneven: the draw is often stuck. Shared: groups lie in several classes.
CASES = {
    "tracks": [[[10] * 6], [[5] * 9], [[30, 3, 7, 9]], [[12, 12]]],
    "uneven": [[[8, 1, 1, 1, 1]], [[4, 4, 4]], [[9, 5]], [[6, 1, 5, 2]]],
    "alone": [[[1] * 20], [[1] * 12], [[2] * 9], [[1] * 10 + [6]]],
}


def store_groups(case):
    """Class by class image ids, and the group of every image; -1 for a group of one image."""
    ids, groups = [], []
    for (sizes,) in CASES[case]:
        begin = len(groups)
        for size in sizes:
            groups += [-1] if size == 1 else [len(groups)] * size
        ids.append(np.random.default_rng(begin).permutation(np.arange(begin, len(groups))))
    return ids, np.array(groups)


def shared_groups():
    """Twelve patients, each with images in three of six classes."""
    rng = np.random.default_rng(0)
    labels, groups = [], []
    for patient in range(12):
        for class_id in rng.choice(6, 3, replace=False):
            count = int(rng.integers(1, 5))
            labels += [class_id] * count
            groups += [patient] * count
    return [np.flatnonzero(np.array(labels) == class_id) for class_id in range(6)], np.array(groups)


def sampler_of(case, asked=Evaluation(3, 2, 4), key=7):
    ids, groups = shared_groups() if case == "shared" else store_groups(case)
    return EpisodeSampler(dict(enumerate(ids)), asked, key, image_groups=groups), groups


def names(groups, images):
    """Groups of images; an image without one is a group of its own."""
    return [set(np.where(groups[row] < 0, -1 - row, groups[row]).tolist()) for row in images]


def assert_apart(batch, groups):
    parts = [part.reshape(len(part), -1) for part in (batch.support, batch.query)]
    for support, query in zip(*(names(groups, part) for part in parts), strict=True):
        assert not support & query
    assert all(len(set(row)) == len(row) for row in batch.ids.tolist())


@pytest.mark.parametrize("case", [*CASES, "shared"])
@pytest.mark.parametrize("balance", [None, 0.3])
def test_support_and_query_share_no_group(case, balance):
    fixed, groups = sampler_of(case)
    varied, _ = sampler_of(case, Episodes((2, 3), (1, 2), 4, balance=balance))
    class_of = {
        int(i): c
        for c, ids in enumerate((store_groups(case) if case in CASES else shared_groups())[0])
        for i in ids
    }
    for sampler in (fixed, varied):
        for item in range(60):
            batch = sampler.batch(item, 3)
            assert_apart(batch, groups)
            found = np.vectorize(class_of.__getitem__)(batch.ids)
            np.testing.assert_array_equal(found, np.take_along_axis(batch.class_ids, batch.labels, axis=1))


@pytest.mark.parametrize("case", [*CASES, "shared"])
def test_an_episode_depends_on_its_index_only(case):
    whole = sampler_of(case)[0].draw(0, 60)
    for start, count in [(0, 1), (17, 20), (59, 1), (5, 0)]:
        part = sampler_of(case)[0].draw(start, count)
        for name in ("class_ids", "support", "query"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + count])
    batch = sampler_of(case)[0].batch(5, 4)
    rows = whole.rows(20, 4)
    np.testing.assert_array_equal(batch.support, rows.support)
    np.testing.assert_array_equal(batch.query, rows.query)


def valid(sizes, n_shot, n_query):
    """Groups that can be the support's, by trying all."""
    every = [set(part) for k in range(1, len(sizes)) for part in combinations(range(len(sizes)), k)]
    total = sum(sizes)
    return [part for part in every if n_shot <= sum(sizes[g] for g in part) <= total - n_query]


@pytest.mark.parametrize("sizes", [[8, 1, 1, 1, 1], [4, 4, 4], [9, 5], [6, 1, 5, 2], [3, 3, 2, 1, 1]])
@pytest.mark.parametrize(("n_shot", "n_query"), [(1, 1), (2, 4), (3, 4), (5, 5)])
def test_every_image_that_can_be_support_or_query_is_so_at_times(sizes, n_shot, n_query):
    possible = valid(sizes, n_shot, n_query)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    assert (sides([groups], n_shot, n_query) is not None) == bool(possible)
    arguments = ({0: np.arange(len(groups))}, Evaluation(1, n_shot, n_query), 3)
    if not possible:
        with pytest.raises(
            ValueError, match="support and queries of different groups; in the sampler class 0"
        ):
            EpisodeSampler(*arguments, image_groups=groups)
        return
    drawn = EpisodeSampler(*arguments, image_groups=groups).draw(0, 1000)
    assert set(groups[drawn.support.ravel()]) == set.union(*possible)
    assert set(drawn.support.ravel()) == {i for i, g in enumerate(groups) if g in set.union(*possible)}
    others = [set(range(len(sizes))) - part for part in possible]
    assert set(groups[drawn.query.ravel()]) <= set.union(*others)
    smallest = [part for part in others if not any(part < other for other in others)]
    assert set(drawn.query.ravel()) >= {i for i, g in enumerate(groups) if g in set.union(*smallest)}


def test_where_nothing_is_in_the_way_support_is_uniform_over_images_and_queries_over_the_rest():
    sizes = [2, 4, 6, 8]
    groups = np.repeat(np.arange(4), sizes)
    drawn = EpisodeSampler({0: np.arange(20)}, Evaluation(1, 1, 2), 5, image_groups=groups).draw(0, 10_000)
    support = np.bincount(drawn.support.ravel(), minlength=20)
    assert ((support - 500) ** 2 / 500).sum() < 19 + 6 * np.sqrt(38)  # chi-square, 19 degrees
    for group, size in enumerate(sizes):
        rows = groups[drawn.support[:, 0, 0]] == group
        query = np.bincount(drawn.query[rows].ravel(), minlength=20)
        assert not query[groups == group].any()
        expected = 2 * rows.sum() / (20 - size)
        chi_square = ((query[groups != group] - expected) ** 2 / expected).sum()
        assert chi_square < (19 - size) + 6 * np.sqrt(2 * (19 - size))


def test_images_in_groups_of_their_own_are_drawn_as_without_groups():
    ids = {0: np.arange(0, 9), 1: np.arange(9, 29), 2: np.arange(29, 40)}
    for groups in (np.full(40, -1), np.arange(40)):
        drawn = EpisodeSampler(ids, Evaluation(2, 3, 4), 7, image_groups=groups).draw(0, 50)
        plain = EpisodeSampler(ids, Evaluation(2, 3, 4), 7).draw(0, 50)
        for name in ("class_ids", "support", "query"):
            np.testing.assert_array_equal(getattr(drawn, name), getattr(plain, name))


def test_support_of_a_stuck_class_is_the_random_order_without_what_cannot_be():
    """Sizes 9 and 5, 2 + 6 images: the support is the smaller group's, each image as often as the others."""
    groups = np.repeat([0, 1], [9, 5])
    drawn = EpisodeSampler({0: np.arange(14)}, Evaluation(1, 2, 6), 5, image_groups=groups).draw(0, 2000)
    counts = Counter(drawn.support.ravel().tolist())
    assert set(counts) == set(range(9, 14))
    assert all(abs(count - 800) < 5 * np.sqrt(800) for count in counts.values())


def test_groups_in_a_circle_of_classes_cannot_be_parted():
    """Three classes, each of two of three patients: two of the three are on one side in any case."""
    circle = [np.array(pair) for pair in ([0, 1], [1, 2], [0, 2])]
    assert all(sides([groups], 1, 1) is not None for groups in circle)
    assert sides(circle, 1, 1) is None
    assert sides([*circle[:2], np.array([0, 3])], 1, 1) is not None
    labels, groups = np.repeat(np.arange(3), 2), np.array([0, 1, 1, 2, 0, 2])
    ids = {class_id: np.flatnonzero(labels == class_id) for class_id in range(3)}
    with pytest.raises(ValueError, match="in the sampler classes share groups, and no way"):
        EpisodeSampler(ids, Evaluation(2, 1, 1), 0, image_groups=groups)


def test_hard_shared_groups_are_parted_in_every_episode():
    """Every class has one image of each of few patients, so that the order of most episodes gets stuck."""
    n_classes, n_groups = 6, 5
    groups = np.tile(np.arange(n_groups), n_classes)
    ids = {c: np.arange(c * n_groups, (c + 1) * n_groups) for c in range(n_classes)}
    sampler = EpisodeSampler(ids, Evaluation(5, 2, 3), 0, image_groups=groups)
    for item in range(50):
        assert_apart(sampler.batch(item, 4), groups)


def test_groups_are_part_of_the_fingerprint():
    ids = {0: np.arange(8), 1: np.arange(8, 16)}
    streams = {
        EpisodeSampler(ids, Evaluation(2, 1, 1), 0, image_groups=groups).stream
        for groups in (None, np.arange(16) // 2, np.arange(16) // 4)
    }
    assert len(streams) == 3


class Tracks(TinySource):
    """Each class in tracks: image i is of track ``i % n_tracks`` of its class, or of one that all share."""

    name = "tracks"

    def __init__(self, sizes, n_tracks, shared=()):
        super().__init__(sizes)
        self.n_tracks, self.shared = n_tracks, shared

    def scan(self):
        return [
            replace(record, image_group=f"{'' if track in self.shared else record.class_name} {track}")
            for i, record in enumerate(super().scan())
            for track in [i % self.n_tracks]
        ]


def served(store, episodes):
    return EpisodeSampler.of_split(store, "tracks", "train", episodes, lambda group: 0, 0)["all"]


def test_a_store_with_groups_is_held_against_the_episodes_before_training(tmp_path):
    sizes = {"train": [12, 12, 12, 12]}
    store = build_store(Tracks(sizes, 3), 4, tmp_path)
    sampler = served(store, Episodes(2, (1, 4), 8))
    assert_apart(sampler.batch(0, 50), store.image_groups)
    message = r"`data.init_args.episodes.shot=4` and .*episodes.query=9` need 13 images a class.*has 12"
    with pytest.raises(ValueError, match=message):
        served(store, Episodes(2, 4, 9))
    message = (
        r"episodes.query=7` need 12 images a class, support and queries of different groups; in split "
        r"'train' of tracks `train0` has 12 in 3 groups, .* in 3 groups \(and 1 more\); lower one"
    )
    with pytest.raises(ValueError, match=message):
        served(store, Episodes(2, 5, 7))


def test_classes_that_share_groups_are_held_against_the_episodes_together(tmp_path):
    """Two tracks that all classes share, and not enough of their own for anything else."""
    store = build_store(Tracks({"train": [2, 2, 3]}, 2, shared=(0, 1)), 4, tmp_path)
    served(store, Episodes(2, 1, 1))
    circle = Circle({"train": [2, 2, 2]})
    store = build_store(circle, 4, tmp_path)
    with pytest.raises(ValueError, match=r"in split 'train' of tracks classes share groups"):
        served(store, Episodes(2, 1, 1))


class Circle(TinySource):
    """Three classes, each of two of three patients."""

    name = "circle"

    def scan(self):
        return [replace(r, image_group=f"{g}") for r, g in zip(super().scan(), "011220", strict=True)]
