import math
from collections import Counter

import numpy as np
import pytest

from psst.episodes import EpisodeSampler, Evaluation
from psst.episodes.counters import distinct


def make(sizes, n_way=3, n_shot=2, n_query=4, key=7):
    ends = np.cumsum(sizes)
    ids = [np.arange(end - size, end) * 3 + 1 for size, end in zip(sizes, ends, strict=True)]
    return EpisodeSampler(dict(enumerate(ids, 100)), Evaluation(n_way, n_shot, n_query), key), ids


@pytest.mark.parametrize(("n_way", "n_shot", "n_query"), [(1, 1, 1), (3, 2, 4), (5, 1, 5), (4, 5, 1)])
def test_an_episode_depends_on_its_index_only(n_way, n_shot, n_query):
    sampler, _ = make([6, 9, 6, 20, 7], n_way, n_shot, n_query)
    whole = sampler.draw(0, 50)
    for start, count in [(0, 1), (17, 1), (17, 20), (49, 1), (5, 0)]:
        part = sampler.draw(start, count)
        for name in ("class_ids", "support", "query"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + count])


def test_classes_and_images_are_distinct_and_belong_together():
    sizes = [6, 9, 6, 20, 7]
    sampler, ids = make(sizes)
    drawn = sampler.draw(0, 500)
    images = np.concatenate([drawn.support, drawn.query], axis=2)
    assert images.shape == (500, 3, 6)
    for classes, rows in zip(drawn.class_ids, images, strict=True):
        assert len(set(classes)) == 3
        assert len(set(rows.ravel())) == rows.size
        for class_id, row in zip(classes, rows, strict=True):
            assert set(row) <= set(ids[class_id - 100])


def test_every_image_of_every_class_is_drawn_equally_often_within_its_class():
    sampler, _ = make([6, 7, 12], n_way=2, n_shot=1, n_query=1)
    drawn = sampler.draw(0, 60_000)
    per_class = np.bincount(drawn.class_ids.ravel() - 100)
    np.testing.assert_allclose(per_class / 120_000, 1 / 3, atol=5 * math.sqrt(2 / 9 / 60_000))
    counts = np.bincount(drawn.support.ravel() // 3)
    expected = np.repeat(per_class / [6, 7, 12], [6, 7, 12])
    assert (((counts - expected) ** 2 / expected).sum() - 22) < 6 * math.sqrt(
        2 * 22
    )  # chi-square, 22 degrees


@pytest.mark.parametrize(("k", "size"), [(1, 1), (2, 3), (3, 3), (4, 4)])
def test_ordered_choices_are_uniform(k, size):
    words = np.random.Philox(key=3).random_raw(k * 24_000).reshape(-1, k)
    counts = Counter(map(tuple, distinct(words, np.int64(size)).tolist()))
    n_choices = math.perm(size, k)
    assert len(counts) == n_choices
    expected = 24_000 / n_choices
    assert max(abs(count - expected) for count in counts.values()) < 5 * math.sqrt(expected)


def test_keys_separate_streams_and_fingerprints_tell_them_apart():
    sampler, _ = make([9] * 6)
    same, _ = make([9] * 6)
    assert sampler.stream == same.stream
    for other in (make([9] * 6, key=8)[0], make([9] * 6, n_shot=1)[0], make([9] * 5 + [10])[0]):
        assert sampler.stream != other.stream
    assert (sampler.draw(0, 9).query != make([9] * 6, key=8)[0].draw(0, 9).query).any()


def test_frozen_stream():
    """Published results name a seed: the episodes behind it may not change with a release."""
    sampler, _ = make([9] * 6)
    drawn = sampler.draw(1000, 1)
    assert drawn.class_ids.tolist() == [[104, 102, 101]]
    assert drawn.support.tolist() == [[[133, 121], [55, 73], [37, 43]]]


def test_bad_input_names_the_numbers():
    with pytest.raises(ValueError, match=r"evaluation.way=3` needs 3 classes, the sampler has 2"):
        make([9, 9])
    with pytest.raises(ValueError, match=r"need 6 images a class; in the sampler class 101 has 5; lower"):
        make([9, 5, 6])
    with pytest.raises(ValueError, match=r"evaluation.shot=0` must be at least 1"):
        make([9, 9, 9], n_shot=0)
    with pytest.raises(ValueError, match=r"`start=-1`"):
        make([9, 9, 9])[0].draw(-1, 1)
