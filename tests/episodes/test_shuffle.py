import numpy as np
import pytest

from psst.episodes.stream import shuffled


def test_every_pass_holds_every_id_once_in_an_order_of_its_own():
    ids = np.arange(50) * 7
    passes = shuffled(ids, 3, 0, 500).reshape(10, 50)
    assert all(sorted(order) == ids.tolist() for order in passes)
    assert len({tuple(order) for order in passes}) == 10


@pytest.mark.parametrize(("start", "count"), [(0, 1), (49, 2), (17, 120), (100, 0), (9_999, 1)])
def test_a_position_is_the_same_however_it_is_reached(start, count):
    whole = shuffled(np.arange(50), 3, 0, 10_000)
    shuffled(np.arange(50), 3, 5_000, 3)
    np.testing.assert_array_equal(shuffled(np.arange(50), 3, start, count), whole[start : start + count])


def test_orders_are_uniform():
    firsts = shuffled(np.arange(4), 1, 0, 40_000).reshape(-1, 4)
    for column in firsts.T:
        assert abs(np.bincount(column) - 2500).max() < 5 * np.sqrt(2500 * 0.75)
