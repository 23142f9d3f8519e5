"""Budgets and plans: laws for any budget, any settings and any cost of a step."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psst.search import SearchSettings
from psst.search.budgets.budget import Budget, CostModel, read_budget
from psst.search.budgets.plan import (
    Done,
    Frame,
    fit_schedule,
    planned_cost,
    refit,
    rung_counts,
    rung_steps,
)
from psst.search.units import Schedule


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert read_budget(text, None).amount == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "30m1h", "1h1h", "2d", "0s"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="such as 2h, 90m, 45s or 1h30m"):
        read_budget(text, None)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_steps_are_positive_whole_numbers(steps):
    with pytest.raises(ValueError, match="positive whole number"):
        read_budget(None, steps)


@st.composite
def frames(draw):
    weights = (0.0, *sorted(draw(st.sets(st.sampled_from([0.03, 0.1, 0.3, 1.0, 3.0]), min_size=1))))
    chosen = SearchSettings(
        auxiliary_weights=weights,
        warm_fraction=draw(st.sampled_from([0.3, 0.6, 0.77])),
        warm_weight=draw(st.sampled_from([0.0, 0.3, 0.5])),
        baselines=draw(st.booleans()),
        max_explored=draw(st.integers(0, 10)),
        max_tangents=draw(st.integers(0, 3)),
    )
    rays = draw(st.none() | st.integers(1, 9))
    return Frame(chosen, draw(st.integers(20, 3000)), draw(st.integers(1, 3)), rays)


models = st.builds(CostModel, st.floats(1e-3, 10), *4 * [st.floats(0, 100)]) | st.just(
    CostModel(1.0, 0.0, 35.0, 0.0)
)


def budget(amount):
    return Budget(amount, True, "--budget-steps")


def plan_for(frame, model, amount):
    try:
        return fit_schedule(frame, budget(amount), model)
    except ValueError:
        return None


@settings(max_examples=60, deadline=None)
@given(frames(), models, st.floats(1, 1e5))
def test_a_plan_never_costs_more_than_its_budget_and_is_never_longer_than_asked(frame, model, amount):
    plan = plan_for(frame, model, amount)
    if plan is not None:
        assert plan.cost <= amount
        assert plan.cost == planned_cost(plan, frame, model)
        assert plan.max_steps <= frame.max_steps
        assert plan == plan_for(frame, model, amount)


@settings(max_examples=60, deadline=None)
@given(frames(), models, st.floats(1, 1e5), st.floats(1, 10))
def test_more_budget_never_gives_less_of_anything(frame, model, amount, factor):
    less, more = plan_for(frame, model, amount), plan_for(frame, model, factor * amount)
    if less is not None:
        assert all(a <= b for a, b in zip(astuple(less), astuple(more), strict=True))


@settings(max_examples=40, deadline=None)
@given(frames(), models)
def test_enough_budget_gives_everything_that_was_asked_for(frame, model):
    plan = plan_for(frame, model, 1e9)
    assert plan.max_steps == frame.max_steps
    assert frame.weights(plan.n_weights) == frame.settings.auxiliary_weights
    assert (plan.explored, plan.baselines) == (frame.settings.max_explored, frame.baselines)
    assert plan.finishers == plan.refined == frame.rays(plan.n_weights)
    assert plan.tangents == frame.settings.max_tangents


@settings(max_examples=60, deadline=None)
@given(frames(), models, st.floats(1, 1e5), st.data())
def test_planning_again_stays_within_what_is_left(frame, model, amount, data):
    plan = plan_for(frame, model, amount)
    if plan is None:
        return
    anchors = 1 + frame.axes * (plan.n_weights - 1)
    done = Done(True, anchors, explored=data.draw(st.integers(0, plan.explored)))
    left, slower = amount * data.draw(st.floats(0, 1)), replace(model, step=model.step * 1.5)
    again = refit(plan, frame, left, slower, done)
    least = refit(plan, frame, 0.0, slower, done)
    assert again.max_steps == plan.max_steps
    assert again.n_weights >= plan.n_weights  # what is done is not taken back
    assert again.cost <= max(left, least.cost)


@pytest.mark.parametrize("n_auxiliary", [1, 2])
@pytest.mark.parametrize("warm_weight", [0.3, 0.2])
def test_the_cost_in_steps_is_that_of_the_units_themselves(n_auxiliary, warm_weight):
    """With all rays to their end, no rays refined, and the twin of an anchor for nothing."""
    chosen, names = SearchSettings(warm_weight=warm_weight), ["a", "b"][:n_auxiliary]
    schedule, frame = Schedule(chosen, 100, names), Frame(chosen, 100, n_auxiliary)
    rays = schedule.subproblems("rays.npz", len(schedule.anchor_pairs))
    units = [schedule.warm, *schedule.anchors, *rays]
    units += [unit for unit in schedule.baselines if unit.method != schedule.warm.method]
    plan = plan_for(frame, CostModel.in_steps(chosen), 1e9)
    plan = replace(plan, refined=0, explored=0)
    assert planned_cost(plan, frame, CostModel.in_steps(chosen)) == sum(unit.steps for unit in units)
    assert frame.baselines == len(units) - 1 - len(schedule.anchors) - len(rays)


def test_what_is_given_up_first_and_last():
    """Trainings get shorter down to a half, then baselines go, then anchors."""
    frame, model = Frame(SearchSettings(), 1000, 1), CostModel.in_steps(SearchSettings())
    plans = [plan_for(frame, model, amount) for amount in range(9000, 1000, -250)]
    shorter = [plan for plan in plans if plan.max_steps == 500 and plan.baselines < frame.baselines]
    assert all(plan.baselines == frame.baselines for plan in plans if plan.max_steps > 500)
    assert all(plan.n_weights == 5 for plan in shorter if plan.baselines > 0)
    assert plans[-1].n_weights < 5


def test_a_budget_that_pays_for_nothing_is_refused_with_the_least():
    frame, chosen = Frame(SearchSettings(), 1000, 1), SearchSettings()
    with pytest.raises(ValueError, match=r"`--budget-steps 5` does not pay for the least search.* 18 steps"):
        fit_schedule(frame, read_budget(None, 5), CostModel.in_steps(chosen))


@pytest.mark.parametrize("rays", range(1, 12))
def test_halves_go_on_and_at_least_the_finishers(rays):
    for finishers in range(1, rays + 1):
        one, two, three = rung_counts(rays, finishers)
        assert one == rays
        assert rays / 2 <= two < rays / 2 + 1 or two == finishers
        assert finishers <= three <= two <= one


@pytest.mark.parametrize(("max_steps", "warm"), [(10, 6), (100, 60), (101, 77), (2000, 1200)])
def test_the_rungs_end_where_all_units_end(max_steps, warm):
    one, two, three = rung_steps(max_steps, warm)
    assert warm < one <= two <= three == max_steps
