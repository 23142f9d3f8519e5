import numpy as np
import pytest

from psst.episodes.counters import below, distinct, random_words


def by_sorting(words, sizes):
    """The definition of `distinct`: each draw is a rank among what is left."""
    drawn = np.empty(words.shape, dtype=np.int64)
    for place in np.ndindex(words.shape[:-1]):
        left = list(range(int(np.broadcast_to(sizes, words.shape[:-1])[place])))
        for j, word in enumerate(words[place].tolist()):
            drawn[place][j] = left.pop((word >> 32) * len(left) >> 32)
    return drawn


@pytest.mark.parametrize("k", [1, 2, 16, 40, 200])
def test_distinct_is_repeated_choice_from_what_is_left(k):
    words = random_words(3, 0, 12, k).reshape(3, 4, k)
    sizes = np.random.default_rng(0).integers(k, 2 * k + 1, (3, 4))
    np.testing.assert_array_equal(distinct(words, sizes), by_sorting(words, sizes))
    np.testing.assert_array_equal(distinct(words, np.int64(k)), by_sorting(words, np.int64(k)))


def test_more_words_than_numbers_leave_the_first_ones_right():
    words = random_words(3, 0, 5, 9)
    np.testing.assert_array_equal(distinct(words, np.int64(6))[:, :6], distinct(words[:, :6], np.int64(6)))


@pytest.mark.parametrize(("needed", "owned"), [(1, None), (5, None), (5, 11), (8, 8)])
def test_a_row_of_words_depends_on_its_number_only(needed, owned):
    table = random_words(9, 0, 30, needed, owned)
    assert table.shape == (30, needed)
    assert len(np.unique(table)) == table.size
    for start, count in [(0, 1), (7, 20), (29, 1), (3, 0)]:
        part = random_words(9, start, count, needed, owned)
        np.testing.assert_array_equal(part, table[start : start + count])


def test_numbers_below_a_bound_are_uniform():
    drawn = below(random_words(1, 0, 30_000, 1)[:, 0], np.int64(6))
    counts = np.bincount(drawn, minlength=6)
    assert len(counts) == 6
    assert ((counts - 5000) ** 2 / 5000).sum() < 5 + 6 * np.sqrt(10)  # chi-square, 5 degrees
