"""Whole searches within a budget: what they train is what a search without one trains."""

import json
import time

import pytest
import torch

import psst.search
from psst.search import SearchSettings
from tests.search.tasks import Columns, Heads

STEPS = 60
SETTINGS = SearchSettings(
    auxiliary_weights=(0.0, 0.1, 0.3, 1.0), recalibration_batches=1, check_batches=2, max_explored=2
)
ALL = {"max_steps": STEPS, "monitor": "val/error", "mode": "min", "trainer": {"accelerator": "cpu"}}


def search(output, settings=SETTINGS, **changes):
    make = lambda: Heads(norm=False, hidden=3)  # noqa: E731  # one line, as a user would write it
    return psst.search.search(make, Columns(), output=output, settings=settings, **{**ALL, **changes})


def weights(folder, name):
    return torch.load(folder / "units" / name / "model.ckpt", weights_only=True)["state_dict"]


def units(folder):
    return json.loads((folder / "manifest.json").read_text())["units"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    return search(folder), folder


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """Enough for trainings of full length and all baselines, and for one ray to its end."""
    folder = tmp_path_factory.mktemp("halved") / "out"
    return search(folder, budget_steps=370), folder


def test_a_subproblem_trained_in_parts_is_the_one_trained_in_one_go(whole, halved):
    """Bit for bit, with its trajectory and its mean weights."""
    finished = [unit.name for unit in halved[0].candidates if unit.kind == "subproblem"]
    for name in finished:
        here, there = weights(halved[1], name), weights(whole[1], name)
        assert all(torch.equal(here[key], there[key]) for key in there)
        one, other = (units(folder)[name] for _, folder in (whole, halved))
        assert one["losses"] == other["losses"]
        assert list(other["weights"].values()) == pytest.approx(list(one["weights"].values()))
    assert finished


def test_fewer_rays_reach_the_end_and_no_step_is_trained_twice(halved):
    result, folder = halved
    legs = {name: unit for name, unit in units(folder).items() if unit["kind"] in ("rung", "subproblem")}
    assert len([unit for unit in legs.values() if unit["kind"] == "subproblem"]) < 3
    for name in [candidate.name for candidate in result.candidates if candidate.kind == "subproblem"]:
        parts = [unit["steps"] for leg, unit in legs.items() if leg.split(".")[0] == name]
        assert sum(parts) == STEPS - round(0.6 * STEPS)


def test_the_search_costs_no_more_than_its_budget(halved):
    _, folder = halved
    kept = json.loads((folder / "budget.json").read_text())
    assert sum(unit.get("steps", 0) for unit in units(folder).values()) <= kept["budget"]["amount"]


def test_the_same_budget_gives_the_same_search_and_a_lost_unit_comes_out_the_same(halved):
    result, folder = halved
    path = folder / "manifest.json"
    manifest, front = json.loads(path.read_text()), (folder / "front.json").read_bytes()
    lost = next(name for name, unit in manifest["units"].items() if unit["kind"] == "rung")
    del manifest["units"][lost]
    path.write_text(json.dumps(manifest))
    again = search(folder, budget_steps=370)
    assert (again.chosen, again.region) == (result.chosen, result.region)
    assert (folder / "front.json").read_bytes() == front


def test_what_is_left_refines_the_region(tmp_path):
    few = SearchSettings(auxiliary_weights=(0.0, 0.3), baselines=False, max_explored=0)
    result = search(tmp_path / "out", few, budget_steps=2000)
    refined = [candidate.name for candidate in result.candidates if candidate.kind == "refined"]
    assert refined
    for name in refined:
        unit = units(tmp_path / "out")[name]
        assert unit["steps"] == STEPS - round(0.6 * STEPS)
    assert (tmp_path / "out" / "refined" / f"{refined[0]}.npz").is_file()


def test_little_is_left_of_a_search_with_little_and_its_trainings_are_shorter(tmp_path):
    result = search(tmp_path / "out", budget_steps=100)
    ends = {
        torch.load(tmp_path / "out" / "units" / model.name / "model.ckpt", weights_only=True)["global_step"]
        for model in result.models
    }
    assert len(ends) == 1
    assert ends.pop() < STEPS
    assert result.baselines == []


def test_another_budget_for_the_same_folder_is_refused(halved):
    with pytest.raises(ValueError, match="was planned for `budget_steps=370`"):
        search(halved[1], budget_steps=800)
    with pytest.raises(ValueError, match="contradict each other"):
        search(halved[1], budget_steps=800, budget="2h")


@pytest.mark.slow
def test_a_time_is_kept_as_far_as_the_machine_keeps_its_pace(tmp_path, capsys):
    began = time.monotonic()
    search(tmp_path / "out", max_steps=20_000, budget="45s")
    took = time.monotonic() - began
    measured = float(capsys.readouterr().err.split("Measured: ")[1].split(" s a step")[0])
    trained = [unit for unit in units(tmp_path / "out").values() if unit.get("steps")]
    pace = sum(unit["seconds"] for unit in trained) / sum(unit["steps"] for unit in trained)
    assert 45 / 2 < took < 1.1 * 45 * max(1.0, pace / measured)
