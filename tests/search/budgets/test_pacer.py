"""A search within a budget: simulated unit by unit with the real plans, and the real costs in steps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psst.pareto import Trajectory
from psst.search import SearchSettings
from psst.search.budgets.budget import Budget, CostModel, read_budget
from psst.search.budgets.pacer import Pacer
from psst.search.budgets.plan import Done, Frame
from psst.search.budgets.stages import gaps_to_refine, refined_units
from psst.search.budgets.tournament import Tournament, joined
from psst.search.explore import neighbors
from psst.search.units import Schedule


def pacer_for(budget, folder=None, max_steps=500, started=False, chosen=None, n_auxiliary=1):
    chosen = chosen or SearchSettings()
    frame = Frame(chosen, max_steps, n_auxiliary)
    return Pacer.open(frame, budget, folder, lambda: (CostModel.in_steps(chosen), 0.0), started=started)


def simulate(pacer, n_auxiliary, n_rays, seed=0):
    """Do what a search does, and record what the manifest would hold."""
    rng, units = np.random.default_rng(seed), {}
    schedule = Schedule(pacer.settings, pacer.first.max_steps, ["a", "b", "c"][:n_auxiliary])

    def train(unit, **more):
        units[unit.name] = {"kind": unit.kind, "steps": unit.steps, **more}

    for unit in (schedule.warm, *schedule.anchors):
        train(unit)
    plan = pacer.again("rays", units, n_rays)
    alive = pacer.rays(schedule.subproblems("rays.npz", n_rays))
    tournament = Tournament(alive, plan.finishers)
    for stage in range(len(tournament)):
        for leg in tournament.legs(stage, alive):
            train(leg.unit, rungs=leg.rungs)
        if stage + 1 < len(tournament):
            alive = tournament.survivors(stage, alive, lambda name: rng.random())
    for i in range(pacer.again("refinement", units).refined):
        train(replace(alive[0], name=f"refined-{i}", kind="refined"))
    for i in range(pacer.again("exploration", units).explored):
        units[f"mix-{i}"] = {"kind": "explored"}

    def twin(unit):
        return "anchor" if unit.method == schedule.warm.method else None

    for unit in pacer.baselines(schedule.baselines, twin):
        if twin(unit) is not None or pacer.affords(units, unit):
            units[unit.name] = {"kind": "baseline", "steps": 0 if twin(unit) else unit.steps}
    return units


@settings(max_examples=60, deadline=None)
@given(
    st.integers(20, 20_000),
    st.integers(10, 800),
    st.integers(1, 3),
    st.integers(-3, 4),
    st.booleans(),
    st.sampled_from([(0.0, 1.0), (0.0, 0.1, 0.3, 1.0, 3.0)]),
)
def test_a_search_never_spends_more_steps_than_its_budget(amount, max_steps, m, surprise, plain, weights):
    """Whatever the number of rays turns out to be."""
    chosen = SearchSettings(auxiliary_weights=weights, baselines=plain)
    try:
        pacer = pacer_for(read_budget(None, amount), max_steps=max_steps, chosen=chosen, n_auxiliary=m)
    except ValueError:
        return
    pairs = pacer.frame.axes * (pacer.first.n_weights - 1)
    units = simulate(pacer, m, max(pairs + surprise, 1))
    tried = sum(unit["kind"] == "explored" for unit in units.values())
    spent = sum(unit.get("steps", 0) for unit in units.values()) + tried * CostModel.in_steps(chosen).explored
    assert spent <= amount + 1e-6
    assert pacer.left(units) <= amount - spent + 1e-6


def test_a_large_budget_is_a_whole_search_and_more():
    pacer = pacer_for(read_budget(None, 10**6))
    units = simulate(pacer, 1, 4)
    kinds = [unit["kind"] for unit in units.values()]
    assert [kinds.count(kind) for kind in ("anchor", "subproblem", "refined", "explored", "baseline")] == [
        5, 4, 4, 10, 5,
    ]  # fmt: skip
    assert Done.of(units).rungs == (4, 4, 4)
    assert {unit["steps"] for unit in units.values() if unit["kind"] == "subproblem"} == {200}  # in one go


def test_the_better_halves_of_the_subproblems_go_on_and_end_at_the_end():
    schedule = Schedule(SearchSettings(), 100, ["a"])
    units = schedule.subproblems("rays.npz", 8)
    tournament, alive = Tournament(units, 1), units
    quality = {unit.name: float(i % 5) for i, unit in enumerate(units)}
    trained = {unit.name: 0 for unit in units}
    seen = []
    for stage in range(len(tournament)):
        legs = tournament.legs(stage, alive)
        for unit, leg in zip(alive, legs, strict=True):
            assert leg.unit.start == schedule.warm_steps + trained[unit.name]  # where the leg before ended
            assert leg.unit.method == unit.method
            trained[unit.name] += leg.unit.steps
        seen.append([unit.name for unit in alive])
        if stage + 1 < len(tournament):
            alive = tournament.survivors(stage, alive, lambda name: quality[name.split(".")[0]])
    assert [len(names) for names in seen] == [8, 4, 2]
    assert seen[1] == [f"subproblem-{i}" for i in (2, 3, 4, 7)]  # qualities 2 3 4 2, the first of equals
    assert seen[2] == ["subproblem-3", "subproblem-4"]
    assert all(trained[name] == 40 for name in seen[2])
    assert [leg.unit.name for leg in legs] == seen[2]  # the last leg has the unit's own name


def test_a_plan_is_kept_for_a_later_run(tmp_path):
    budget = read_budget(None, 3000)
    first = pacer_for(budget, tmp_path)
    first.again("rays", {"warm": {"kind": "warm", "steps": 300}}, 4)
    again = pacer_for(budget, tmp_path, started=True)
    assert (again.first, again.settings) == (first.first, first.settings)
    assert again.again("rays", {}, 9) == first.plan  # decided already
    with pytest.raises(ValueError, match=r"planned for `--budget-steps 3000`"):
        pacer_for(read_budget(None, 4000), tmp_path, started=True)


def test_a_search_without_a_budget_does_not_get_one_later(tmp_path):
    with pytest.raises(ValueError, match="started without a budget"):
        pacer_for(read_budget(None, 3000), tmp_path, started=True)


def test_a_slow_machine_makes_the_rest_smaller(tmp_path):
    chosen = SearchSettings()
    frame, said = Frame(chosen, 500, 1), []
    model = CostModel.in_seconds(chosen, 0.1, 1.0)
    pacer = Pacer(
        budget := Budget(600.0, False, "--budget 10m"),
        frame,
        *2 * [pacer_plan(frame, budget, model)],
        model,
        say=said.append,
    )
    units = {"warm": {"kind": "warm", "steps": 300, "seconds": 90.0}}  # three times as long
    pacer.spent_before = 90.0
    before, after = pacer.plan, pacer.again("rays", units, 4)
    assert after.max_steps == before.max_steps
    assert after.baselines < before.baselines
    assert "baselines" in said[0]


def pacer_plan(frame, budget, model):
    from psst.search.budgets.plan import fit_schedule

    return fit_schedule(frame, budget, model)


def test_rays_are_refined_inside_the_region_first():
    points = np.column_stack([np.array([0.0, 1.0, 1.5, 3.5, 4.0]), np.zeros(5)])
    links = neighbors(points)
    assert gaps_to_refine(points, links, [1, 2, 3], 2) == [(2, 3), (1, 2)]
    assert gaps_to_refine(points, links, [1, 2, 3], 9) == [(2, 3), (1, 2), (0, 1), (3, 4)]
    assert gaps_to_refine(points, links, [2], 1) == [(2, 3)]


def path_of(start, steps, slope, weights):
    time = np.arange(start, start + steps)[:, None]
    return Trajectory(time * np.array([slope, -slope]), start, np.array(weights))


def test_a_refined_ray_lies_between_its_ends(tmp_path):
    from psst.pareto import RaySet

    folders = []
    for name, slope, weights in (("one", 0.1, [0.9, 0.1]), ("other", 0.3, [0.5, 0.5])):
        (tmp_path / name).mkdir()
        path_of(60, 40, slope, weights).save(tmp_path / name / "trajectory.npz")
        folders.append(tmp_path / name)
    (unit,) = refined_units([(0, 1)], folders, tmp_path, SearchSettings(), (60, 100))
    assert (unit.name, unit.start, unit.stop) == ("refined-one-other", 60, 100)
    rays = RaySet.load(unit.method["init_args"]["rays"])
    low, middle, high = rays.at(99)
    assert middle == pytest.approx((low + high) / 2)
    assert unit.method["init_args"]["index"] == 1


def test_legs_join_to_the_trajectory_of_the_whole():
    whole = path_of(60, 40, 0.1, [0.75, 0.25])
    first, second = path_of(60, 10, 0.1, [0.9, 0.1]), path_of(70, 30, 0.1, [0.7, 0.3])
    found = joined(first, second)
    assert found.first_step == 60
    assert found.log_losses == pytest.approx(whole.log_losses)
    assert found.weights == pytest.approx(whole.weights)
