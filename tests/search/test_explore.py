"""Averages of neighbors: linearity, ends, the chord."""

import numpy as np
import torch

from psst.search.explore import average, chord_check, plan_mixes


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(3, 4, generator=generator), "num_batches_tracked": torch.tensor(7)}


def test_an_average_at_an_end_is_that_end():
    a, b = state(0), state(1)
    for shares, end in (((1.0, 0.0), a), ((0.0, 1.0), b)):
        mixed = average([a, b], shares)
        assert all(torch.equal(mixed[key], end[key]) for key in end)


def test_an_average_is_linear_and_keeps_types():
    a, b = state(0), state(1)
    mixed = average([a, b], (0.25, 0.75))
    expected = 0.25 * a["weight"].double() + 0.75 * b["weight"].double()
    assert torch.equal(mixed["weight"], expected.float())
    assert mixed["num_batches_tracked"].dtype == torch.int64


def test_mixes_lie_between_neighbors_inside_the_region():
    names = ["a", "b", "c", "d"]
    links = [(0, 1), (1, 2), (2, 3)]
    mixes = plan_mixes(names, links, [1, 2, 3], (0.25, 0.5, 0.75), 10)
    assert {mix.parents for mix in mixes} == {("b", "c", "d"), ("b", "c"), ("c", "d")}
    assert all(abs(sum(mix.shares) - 1) < 1e-12 for mix in mixes)
    assert len(plan_mixes(names, links, [1, 2, 3], (0.25, 0.5, 0.75), 3)) == 3


def test_a_region_of_one_is_left_towards_its_neighbors():
    mixes = plan_mixes(["a", "b", "c"], [(0, 1), (1, 2)], [1], (0.5,), 10)
    assert {mix.parents for mix in mixes} == {("a", "b"), ("b", "c")}


def test_convex_losses_pass_the_chord_and_a_barrier_fails():
    """On a convex loss every average lies below the chord; a hill between the ends lies above it."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=(40, 1))

    def losses(x: float, height: float) -> np.ndarray:
        return np.array([[x**2 + height * (1 - x**2), (x - 0.2) ** 2]]) + noise

    for height, accepted in ((0.0, True), (3.0, False)):
        ends = [losses(-1.0, height), losses(1.0, height)]
        assert chord_check(losses(0.0, height), ends, (0.5, 0.5)).accepted is accepted
