"""The layout of a search: costs, anchors, pairs."""

import numpy as np
import pytest

from psst.components import instantiate
from psst.pareto import Method, RaySet
from psst.search.settings import SearchSettings
from psst.search.units import Schedule


def test_every_candidate_ends_after_exactly_the_steps_of_one_training():
    schedule = Schedule(SearchSettings(), 1000, ["rotation"])
    candidates = [*schedule.anchors, *schedule.subproblems("rays.npz", 4), *schedule.baselines]
    assert {unit.stop for unit in candidates} == {1000}
    assert {unit.start for unit in schedule.anchors} == {schedule.warm.stop} == {600}
    assert {unit.start for unit in schedule.baselines} == {0}


def test_warm_start_anchors_and_four_subproblems_cost_at_most_four_trainings_and_two_fifths():
    schedule = Schedule(SearchSettings(), 1000, ["rotation"])
    units = [schedule.warm, *schedule.anchors, *schedule.subproblems("rays.npz", 4)]
    assert sum(unit.steps for unit in units) <= 4.4 * 1000


def test_one_auxiliary_task_orders_its_anchors_by_weight():
    schedule = Schedule(SearchSettings(), 1000, ["rotation"])
    weights = [unit.method["init_args"]["auxiliary"] for unit in schedule.anchors]
    assert weights == [[0.0], [0.1], [0.3], [1.0], [3.0]]
    assert schedule.anchor_pairs == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_two_auxiliary_tasks_are_weighed_each_alone_and_both_together():
    schedule = Schedule(SearchSettings(auxiliary_weights=(0.0, 1.0, 3.0)), 1000, ["rotation", "patches"])
    weights = [tuple(unit.method["init_args"]["auxiliary"]) for unit in schedule.anchors]
    assert weights == [(0, 0), (1, 0), (3, 0), (0, 1), (0, 3), (1, 1), (3, 3)]
    assert schedule.anchor_pairs == [(0, 1), (1, 2), (0, 3), (3, 4), (0, 5), (5, 6)]
    assert len({unit.name for unit in schedule.anchors + schedule.baselines}) == 14


@pytest.mark.parametrize("name", ["Preference", "MinNorm", "Ray"])
def test_each_method_is_made_from_its_units_description(name, tmp_path):
    rays = RaySet.constant(np.array([[-0.1, 0.1], [0.1, -0.1]]))
    rays.save(tmp_path / "rays.npz")
    settings = SearchSettings(method=f"psst.pareto.{name}")
    schedule = Schedule(settings, 1000, ["rotation"])
    for index, unit in enumerate(schedule.subproblems(str(tmp_path / "rays.npz"), 2)):
        made = instantiate(unit.method, Method)
        made.start(2)
        assert (type(made).__name__, made.index) == (name, index)


def test_a_method_that_knows_no_bound_is_refused_with_one_before_any_training():
    with pytest.raises(TypeError, match="min_main_share"):
        Schedule(SearchSettings(method="psst.pareto.MinNorm", min_main_share=0.4), 1000, ["rotation"])
    Schedule(SearchSettings(min_main_share=0.4), 1000, ["rotation"])


def test_a_bound_on_the_main_share_reaches_the_method_that_knows_it():
    schedule = Schedule(SearchSettings(min_main_share=0.4), 1000, ["rotation"])
    assert schedule.subproblems("rays.npz", 1)[0].method["init_args"]["min_main_share"] == 0.4


def test_without_an_auxiliary_task_there_is_nothing_to_search():
    with pytest.raises(ValueError, match=r"`model.init_args.auxiliary=\[\]`"):
        Schedule(SearchSettings(), 1000, [])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"auxiliary_weights": (0.1, 1.0)}, "auxiliary_weights"),
        ({"auxiliary_weights": (0.0, 1.0, 0.3)}, "auxiliary_weights"),
        ({"warm_fraction": 1.0}, "warm_fraction"),
        ({"min_main_share": 1.5}, "min_main_share"),
        ({"mixes": (0.0, 0.5)}, "mixes"),
        ({"check_batches": 0}, "check_batches"),
    ],
)
def test_settings_outside_their_range_are_named(change, named):
    with pytest.raises(ValueError, match=f"`search.{named}="):
        SearchSettings(**change)


def test_a_training_too_short_to_divide_is_refused():
    with pytest.raises(ValueError, match=r"`trainer\.max_steps=2`"):
        Schedule(SearchSettings(), 2, ["rotation"])
