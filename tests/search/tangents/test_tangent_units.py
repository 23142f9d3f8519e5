"""Correctors as units of a search: where they start, what they cost, how they end."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from psst.search.settings import SearchSettings, TangentSettings
from psst.search.tangents.exploration import TangentExploration, plan_tangents, tangent_work
from psst.search.tangents.explorer import TangentExplorer
from psst.search.tangents.unit import continuation, rays_through
from psst.search.unit_callbacks import KeepAt
from psst.search.units import Unit, fixed_weights
from psst.search.work import Workshop
from tests.search.tangents.competing import (
    LAST,
    SETTINGS,
    STEPS,
    WARM,
    correction,
    make_judge,
    train,
    trained_front,
)


@pytest.fixture(scope="module")
def front():
    return trained_front()


@pytest.mark.parametrize("left", [LAST, SETTINGS.correct_steps])  # at the end of an epoch, and inside one
def test_a_kept_checkpoint_goes_on_bit_for_bit(front, tmp_path, left):
    """The corrector thus begins where its parent was, optimizer, schedule and batches included."""
    run, folder, parent, _ = front
    kept = KeepAt.path(folder / parent.name, STEPS - left)
    unit = Unit("again", "anchor", fixed_weights([1.0]), STEPS - left, STEPS)
    again = train(run, unit, tmp_path, kept)
    assert all(torch.equal(value, again.state[name]) for name, value in parent.state.items())
    assert np.array_equal(again.trajectory.log_losses, parent.trajectory.log_losses[-left:])


def test_on_a_ray_of_the_gap_a_unit_ends_between_parent_and_neighbor(front, tmp_path):
    run, folder, parent, neighbor = front
    kept = KeepAt.path(folder / parent.name, STEPS - LAST)
    rays = rays_through(parent, neighbor, 0.5, STEPS - LAST)
    unit, start = continuation("between", parent.state, rays, kept, STEPS, tmp_path, SearchSettings())
    assert unit.steps == LAST
    ended = train(run, unit, tmp_path, start)
    judge = make_judge(run)
    losses = judge.fresh_losses({"p": parent.state, "r": ended.state, "n": neighbor.state}, 5000, 16)
    places = [np.log(rows.mean(axis=0)) @ [-1.0, 1.0] for rows in losses.values()]
    assert min(places[0], places[2]) < places[1] < max(places[0], places[2])


def test_the_corrector_starts_from_the_prediction_with_its_losses(front, tmp_path):
    run, _, parent, neighbor = front
    proposal = TangentExplorer(make_judge(run), SETTINGS, STEPS).propose(parent, neighbor)
    kept, _, start = correction(proposal, front, tmp_path)
    before, after = (torch.load(path, weights_only=True) for path in (kept, start))
    assert all(torch.equal(after["state_dict"][name], value) for name, value in proposal.state.items())
    means = [np.array(content["callbacks"]["PSSTCallback"]["ema"]["mean"]) for content in (before, after)]
    np.testing.assert_allclose(np.log(means[1] / means[0]), proposal.log_change, rtol=1e-9)
    assert after["global_step"] == before["global_step"] == STEPS - SETTINGS.correct_steps
    assert after["lr_schedulers"] == before["lr_schedulers"]


def test_the_rays_of_a_gap_move_with_its_ends(front):
    _, _, parent, neighbor = front
    rays = rays_through(parent, neighbor, 0.25, STEPS - 50)
    assert rays.points.shape == (3, 50, 2)
    assert rays.first_step == STEPS - 50
    np.testing.assert_allclose(rays.points[0], parent.trajectory.centered[-50:])
    np.testing.assert_allclose(rays.points[2], neighbor.trajectory.centered[-50:])
    np.testing.assert_allclose(rays.points[1], 0.75 * rays.points[0] + 0.25 * rays.points[2])
    ratios = rays.priors[:, 1] / rays.priors[:, 0]
    assert ratios[1] == pytest.approx(ratios[0] ** 0.75 * ratios[2] ** 0.25)


class Runner:
    """The search's runner, in short."""

    def __init__(self, run, folder):
        self.run, self.folder, self.trained = run, folder, []

    def unit_folder(self, name):
        return self.folder / name

    def state(self, name):
        return torch.load(self.folder / name / "model.ckpt", weights_only=True)["state_dict"]

    def train(self, unit, start=None):
        self.trained.append(unit)
        ended = train(self.run, unit, self.folder / unit.name, start)
        ended.trajectory.save(self.folder / unit.name / "trajectory.npz")
        return {"kind": unit.kind, "steps": unit.steps, "seconds": 1.0, "losses": {"main": 1.0, "other": 1.0}}


def exploration(front, folder, **settings):
    run, units, *_ = front
    chosen = TangentSettings(**{**SETTINGS.__dict__, **settings})
    settings = SearchSettings(warm_fraction=WARM / STEPS, tangent=chosen)
    runner = Runner(run, units)
    return runner, TangentExploration(runner, make_judge(run), settings, folder, STEPS)


def test_a_tangent_is_a_unit_like_any_other_with_all_its_cost(front, tmp_path):
    runner, explored = exploration(front, tmp_path)
    assert explored.keep_step == STEPS - SETTINGS.correct_steps
    result = explored.tangent("anchor-1", "anchor-0.3")
    assert [unit.name for unit in runner.trained] == ["tangent-anchor-1-anchor-0.3"]
    assert result["accepted"]
    assert result["gates"]["correction"]["passed"]
    assert result["losses"] == {"main": 1.0, "other": 1.0}
    assert SETTINGS.correct_steps < result["steps"] <= explored.tangent_steps
    json.dumps(result)
    left = {path.name for path in (tmp_path / "tangents/tangent-anchor-1-anchor-0.3").iterdir()}
    assert left == {"rays.npz"}


def test_a_skipped_tangent_trains_nothing_and_says_why(front, tmp_path):
    runner, explored = exploration(front, tmp_path, damping=1e3)
    result = explored.tangent("anchor-1", "anchor-0.3")
    assert not runner.trained
    assert not result["accepted"]
    assert result["skipped"].startswith("residual: ")
    assert 0 < result["steps"] < explored.tangent_steps


def test_a_corrector_longer_than_the_units_is_refused(front, tmp_path):
    longest = STEPS - WARM - 1
    with pytest.raises(
        ValueError, match=rf"`search.tangent.correct_steps={longest + 1}` must lie in \[1, {longest}\]"
    ):
        exploration(front, tmp_path, correct_steps=longest + 1)


def test_one_tangent_is_planned_for_each_gap_of_the_region_first():
    names, links = ["a", "b", "c", "d"], [(0, 1), (1, 2), (2, 3)]
    assert plan_tangents(names, links, [2, 1], 10) == [("c", "b"), ("c", "d"), ("b", "a")]
    assert plan_tangents(names, links, [2, 1], 1) == [("c", "b")]


def test_as_work_of_a_search_a_tangent_is_an_ordinary_unit(front, tmp_path):
    """By the search's own runner: folder, checkpoint and validation are those of any unit."""
    run, units, *_ = front
    shutil.copytree(units, tmp_path / "units")
    settings = SearchSettings(warm_fraction=WARM / STEPS, tangent=SETTINGS)
    workshop = Workshop(run, make_judge(run), settings, tmp_path)
    work = pickle.loads(pickle.dumps(tangent_work("anchor-1", "anchor-0.3", (STEPS - 50, STEPS))))
    result = work.do(workshop)
    assert result["accepted"]
    assert result["metric"] > 0.0
    assert result["losses"]
    folder = workshop.runner.unit_folder(work.name)
    assert json.loads((folder / "unit.json").read_text())["start"] == STEPS - 50
    content = torch.load(folder / "model.ckpt", weights_only=True)
    assert content["global_step"] == STEPS
    run.module().load_state_dict(content["state_dict"])
    assert make_judge(run).candidate(work.name, folder, result).kind == "explored"
    again = work.do(workshop)  # what a search does that was killed before it could note the result
    assert again["losses"] == result["losses"]
    assert again["gates"] == result["gates"]
