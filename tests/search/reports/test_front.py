"""The numbers of a front: laws that hold for any losses, and a few closed forms."""

import numpy as np
import pytest

from psst.search.reports.cost import described
from psst.search.reports.front import FrontScale, hypervolume, knee, non_dominated, spread


def losses(seed, n=12, m=2):
    """Positive, and on the whole the better in one task the worse in another."""
    rng = np.random.default_rng(seed)
    return 0.1 + rng.dirichlet(np.ones(m), size=n) + 0.05 * rng.random((n, m))


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_no_number_knows_the_scale_of_a_loss(seed, m):
    """Losses in other units: the anchors' scale takes them out."""
    points, units = losses(seed, m=m), 10.0 ** np.linspace(-4, 3, m)
    found = []
    for rows in (points, points * units):
        scale = FrontScale.of(rows[:4])
        numbers = hypervolume(rows, scale), spread(rows, rows, scale)
        found.append([*numbers, -1 if knee(rows) is None else knee(rows)])
    assert found[0] == pytest.approx(found[1], rel=1e-6)  # losses of 1e-4 and 1e3 in float64


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_one_more_model_never_takes_from_the_front(seed, m):
    points = losses(seed, m=m)
    scale = FrontScale.of(points[:4])
    volumes = [hypervolume(points[: n + 1], scale) for n in range(4, len(points))]
    assert volumes == sorted(volumes)


@pytest.mark.parametrize("m", [2, 3])
def test_what_is_dominated_changes_nothing(m):
    points = losses(5, m=m)
    kept, scale = points[non_dominated(points)], FrontScale.of(points[:4])
    assert hypervolume(kept, scale) == pytest.approx(hypervolume(points, scale))
    assert spread(kept, points, scale) == pytest.approx(spread(points, points, scale))


def test_the_volume_of_one_point_is_its_box_up_to_the_reference():
    scale = FrontScale.of(np.array([[1.0, 4.0], [3.0, 2.0]]))
    assert scale.reference.tolist() == pytest.approx([1 + 2 * FrontScale.margin, 2 + 2 * FrontScale.margin])
    assert hypervolume(np.array([[2.0, 3.0]]), scale) == pytest.approx((FrontScale.margin - 0.5) ** 2)


def test_the_knee_is_farthest_below_the_chord():
    """On the quarter circle round (1, 1) that is its middle; a straight front has none."""
    angle = np.linspace(0, np.pi / 2, 21)
    bent = 1 - np.column_stack([np.sin(angle), np.cos(angle)])
    assert knee(bent) == 10
    line = np.column_stack([np.linspace(0, 1, 9), 1 - np.linspace(0, 1, 9)])
    assert knee(line) is None
    assert knee(2 - bent) is None  # bulges outwards


def test_an_even_front_has_no_spread_and_a_bunched_one_has():
    place = np.linspace(0, 1, 9)
    even = np.column_stack([place, 1 - place])
    bunched = np.column_stack([place**4, 1 - place**4])
    scale = FrontScale.of(even)
    assert spread(even, even, scale) == pytest.approx(0)
    assert spread(bunched, bunched, scale) > 0.5
    assert spread(even[:4], even, scale) > 0.3  # an end is missed


def test_losses_that_are_no_numbers_are_no_part_of_the_front():
    points = np.vstack([losses(0), [np.nan, 0.0], [0.0, np.inf]])
    scale = FrontScale.of(points)
    assert not non_dominated(points)[-2:].any()
    assert hypervolume(points, scale) == hypervolume(points[:-2], scale)
    with pytest.raises(ValueError, match="finite losses"):
        FrontScale.of(points[-2:])


def test_anchors_that_agree_in_a_task_leave_a_scale():
    scale = FrontScale.of(np.array([[1.0, 2.0], [1.0, 3.0]]))
    assert np.isfinite(scale(np.array([[1.1, 2.5]]))).all()
    assert hypervolume(np.array([[1.0, 2.0]]), scale) == pytest.approx(FrontScale.margin**2)


UNITS = {
    "warm": {"kind": "warm", "steps": 60, "seconds": 6.0},
    "anchor-0": {"kind": "anchor", "steps": 40, "seconds": 4.0},
    "anchor-1": {"kind": "anchor", "steps": 40, "seconds": 4.0},
    "mix": {"kind": "explored", "accepted": False},
    "tangent": {"kind": "explored", "way": "tangent", "steps": 55, "seconds": 5.0, "tangent_steps": 45.0},
    "plain": {"kind": "baseline", "steps": 100, "seconds": 10.0},
    "fixed-0.3": {"kind": "baseline", "steps": 0, "seconds": 0.0},  # a copy
}


def test_the_costs_of_all_kinds_sum_to_the_whole():
    costs = described(UNITS, 100)
    assert list(costs["by_kind"]) == ["warm start", "anchors", "averages", "tangents", "baselines"]
    assert costs["all"]["steps"] == sum(unit.get("steps", 0) for unit in UNITS.values())
    assert costs["all"]["units"] == len(UNITS)
    assert costs["by_kind"]["tangents"]["steps"] == 55  # its products with the Hessian are steps, too
    assert costs["search"]["steps"] == costs["all"]["steps"] - 100


def test_a_training_of_full_length_is_the_unit_of_cost():
    numbers = described(UNITS, 100)
    assert numbers["search"]["trainings"] == pytest.approx(1.95)
    assert numbers["search"]["trainings_in_seconds"] == pytest.approx(1.9)  # one takes 10 s
    assert "trainings_in_seconds" not in described({"warm": UNITS["warm"]}, 100)["all"]
