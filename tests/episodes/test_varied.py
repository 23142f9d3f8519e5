import numpy as np
import pytest

from psst.episodes import Episodes, EpisodeSampler

SIZES = [14, 30, 14, 16, 40, 15]


def sampler_of(way=5, shot=4, balance=None, key=7):
    ends = np.cumsum(SIZES)
    ids = [np.arange(end - size, end) * 3 + 1 for size, end in zip(SIZES, ends, strict=True)]
    return EpisodeSampler(dict(enumerate(ids, 100)), Episodes(way, shot, 10, balance=balance), key)


def assert_equal(one, other):
    for name in ("class_ids", "ids", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_one_shape_and_even_queries_are_the_plain_sampler():
    sampler = sampler_of()
    for item in (0, 3, 999):
        assert_equal(sampler.batch(item, 3), sampler.draw(3 * item, 3))


@pytest.mark.parametrize("balance", [None, 0.3])
def test_a_batch_depends_on_its_number_only(balance):
    sampler = sampler_of((2, 5), (1, 4), balance)
    batches = [sampler.batch(item, 3) for item in range(20)]
    again = sampler_of((2, 5), (1, 4), balance)
    for item in (19, 0, 7):
        assert_equal(batches[item], again.batch(item, 3))
    for other in (sampler_of((2, 5), (1, 4), balance, 8), sampler_of((3, 5), (1, 4), balance)):
        assert any(
            a.class_ids.tolist() != other.batch(i, 3).class_ids.tolist() for i, a in enumerate(batches)
        )


def test_shapes_are_uniform_and_shared_by_the_episodes_of_a_batch():
    sampler = sampler_of((2, 5), (3, 4))
    shapes = np.array([[(b := sampler.batch(item, 1).shape).way, b.shot] for item in range(4000)])
    for column, values in ((0, [2, 3, 4, 5]), (1, [3, 4])):
        found, counts = np.unique(shapes[:, column], return_counts=True)
        assert found.tolist() == values
        expected = 4000 / len(values)
        assert ((counts - expected) ** 2 / expected).sum() < len(values) + 6 * np.sqrt(2 * len(values))
    for item in range(10):
        batch, (way, shot) = sampler.batch(item, 4), shapes[item]
        assert batch.class_ids.shape == (4, way)
        assert batch.support.shape == (4, way, shot)
        assert batch.query.shape == (4, way, 10)


@pytest.mark.parametrize("concentration", [0.01, 1.0, 1e6])
def test_unbalanced_episodes_hold_distinct_images_of_their_classes(concentration):
    sampler = sampler_of((2, 5), (1, 4), concentration)
    class_of = {int(i): int(c) for c in sampler.class_ids for i in images_of(sampler, c)}
    spreads = []
    for item in range(60):
        batch = sampler.batch(item, 3)
        way = batch.class_ids.shape[1]
        assert batch.query.shape == batch.query_labels.shape == (3, way * 10)
        for row in range(3):
            images = batch.ids[row]
            assert len(set(images)) == len(images)
            assert [class_of[i] for i in images] == batch.class_ids[row][batch.labels[row]].tolist()
            assert (np.diff(batch.query_labels[row]) >= 0).all()
            spreads.append(np.bincount(batch.query_labels[row], minlength=way).std())
    if concentration == 1e6:
        assert max(spreads) <= 0.5
    else:
        assert np.mean(spreads) > 3


def images_of(sampler, class_id):
    place = int(class_id) - 100
    start = sum(SIZES[:place])
    return sampler.image_ids[start : start + SIZES[place]]


def test_counts_follow_the_dirichlet_distribution():
    """Mean 1/N and variance (N - 1) / (N^2 (N a + 1)) of each share, where nothing is cut off."""
    n, total, concentration = 5, 10_000, 2.0
    rng, room = np.random.default_rng(3), np.full(n, total)
    shares = (
        np.array([EpisodeSampler.query_counts(rng, concentration, total, room) for _ in range(20_000)])
        / total
    )
    variance = (n - 1) / (n**2 * (n * concentration + 1))
    np.testing.assert_allclose(shares.mean(axis=0), 1 / n, atol=5 * np.sqrt(variance / 20_000))
    np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.05)


def test_counts_sum_to_the_total_and_keep_to_the_room():
    rng = np.random.default_rng(0)
    for concentration in (1e-8, 0.1, 1.0, 50.0):
        room = rng.integers(10, 16, (300, 5))
        counts = np.array([EpisodeSampler.query_counts(rng, concentration, 50, row) for row in room])
        assert (counts.sum(axis=1) == 50).all()
        assert (counts >= 0).all()
        assert (counts <= room).all()
