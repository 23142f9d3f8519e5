"""The tangent on small networks through the Python door: it passes, is corrected, and every gate fires."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from psst.search.python_run import PythonRun
from psst.search.settings import TangentSettings
from psst.search.tangents.explorer import TangentExplorer, planned_cost
from psst.search.tangents.search import Solution
from psst.search.training_pass import on_training_batches
from tests.pareto.problems import weighted_optima
from tests.search.tangents.competing import (
    SETTINGS,
    STEPS,
    Conflict,
    Rotated,
    correction,
    make_judge,
    make_run,
    train,
    trained_front,
)
from tests.tangents.smooth_problems import anisotropic, quadratics


@pytest.fixture(scope="module")
def front():
    return trained_front()


def gates(proposal):
    return {verdict.gate: verdict.passed for verdict in proposal.verdicts}


def test_a_tangent_passes_every_gate_and_its_corrected_model_too(front, tmp_path):
    run, _, parent, neighbor = front
    judge = make_judge(run)
    explorer = TangentExplorer(judge, SETTINGS, STEPS)
    proposal = explorer.propose(parent, neighbor)
    assert gates(proposal) == dict.fromkeys(
        ["criticality", "curvature", "residual", "reliability", "confirmation"], True
    )
    assert proposal.accepted
    assert proposal.reason == ""
    assert proposal.cost + SETTINGS.correct_steps <= planned_cost(SETTINGS, 2)
    _, unit, start = correction(proposal, front, tmp_path)
    assert unit.steps == SETTINGS.correct_steps
    corrected = train(run, unit, tmp_path, start)
    assert explorer.confirm(proposal, parent.state, corrected.state).passed
    losses = judge.fresh_losses({"p": parent.state, "c": corrected.state, "n": neighbor.state}, 5000, 16)
    places = {name: np.log(rows.mean(axis=0)) @ [-1.0, 1.0] for name, rows in losses.items()}
    gone = (places["c"] - places["p"]) / (places["n"] - places["p"])
    assert 0.2 < gone < 0.9  # half of the way was asked for
    run.module().load_state_dict(corrected.state)
    json.dumps(proposal.result())


def test_losses_with_graphs_are_those_of_evaluation_and_the_same_at_every_call(front):
    run, _, parent, _ = front
    judge = make_judge(run)

    def work(module, batches):
        values = [[torch.stack(list(batch())) for half in batches for batch in half] for _ in range(2)]
        assert all(value.requires_grad for value in values[0])
        assert not any(layer.training for layer in module.modules())
        state = module.state_dict()
        assert all(torch.equal(value, parent.state[name]) for name, value in state.items())
        return [torch.stack(rows).detach().double().numpy() for rows in values]

    first, second = judge.on_batches(parent.state, [77, 99], 5, work)
    assert np.array_equal(first, second)
    for start, rows in ((77, first[:5]), (99, first[5:])):
        np.testing.assert_allclose(rows, judge.fresh_losses({"p": parent.state}, start, 5)["p"], rtol=1e-6)


def test_mixed_precision_is_left_aside_where_curvature_is_taken(front):
    _, _, parent, _ = front
    run = PythonRun(Conflict, Rotated(), STEPS, trainer={"accelerator": "cpu", "precision": "bf16-mixed"})

    def work(module, batches):
        features = []
        module.trunk.register_forward_hook(lambda layer, inputs, output: features.append(output.dtype))
        batches[0][0]()
        return features[0]

    assert on_training_batches(run, parent.state, [0], 2, work) is torch.float32


def test_draws_inside_a_step_are_the_same_at_every_call():
    class Noisy(Conflict):
        def losses(self, batch):
            x, y = batch
            return super().losses((x + 0.5 * torch.randn_like(x), y))

    run = make_run(Noisy)

    def work(module, batches):
        one, two, three = batches[0][0](), batches[0][1](), batches[0][0]()
        assert torch.equal(torch.stack(one), torch.stack(three))
        return torch.equal(torch.stack(one), torch.stack(two))

    assert not on_training_batches(run, run.module().state_dict(), [0], 2, work)


def propose(run, parent, neighbor, **settings):
    chosen = {**SETTINGS.__dict__, **settings}
    return TangentExplorer(make_judge(run), TangentSettings(**chosen), STEPS).propose(parent, neighbor)


def stopped_by(proposal, gate):
    assert not proposal.accepted
    assert proposal.state is None
    assert proposal.reason.startswith(f"{gate}: ")
    assert proposal.result()["skipped"] == proposal.reason
    json.dumps(proposal.result())
    return not gates(proposal)[gate]


def test_an_untrained_model_is_stopped_by_criticality(front):
    run, _, parent, neighbor = front
    proposal = propose(run, Solution("new", run.module().state_dict(), parent.trajectory), neighbor)
    assert stopped_by(proposal, "criticality")
    assert proposal.cost < 2 * SETTINGS.batches  # and no product with the Hessian


def test_few_noisy_batches_are_stopped_by_reliability(front):
    """Where noise passes for criticality by chance, it does not repeat itself on the other half."""
    _, _, parent, neighbor = front
    run = make_run(data=Rotated(noise=0.5, n=64, batch=2))
    settings = TangentSettings(batches=2, curvature_batches=1, check_batches=2, iterations=1)
    found = [
        TangentExplorer(make_judge(run), settings, first).propose(parent, neighbor)
        for first in range(STEPS, STEPS + 20)
    ]
    stopped = [proposal for proposal in found if gates(proposal).get("criticality")]
    assert stopped
    assert any(stopped_by(proposal, "reliability") for proposal in stopped if not proposal.accepted)


def test_drowned_curvature_is_stopped_by_the_residual(front):
    run, _, parent, neighbor = front
    assert stopped_by(propose(run, parent, neighbor, damping=1e3), "residual")


class Concave(Conflict):
    """VLMOP2 round a parameter vector: between its ends the front is concave."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(8))

    def losses(self, batch):
        center = self.place.new_full((8,), 8**-0.5) + 0.001 * batch[0].mean()
        away = [(self.place - sign * center).square().sum() for sign in (1.0, -1.0)]
        return dict(zip(self.names, (1.0 - torch.exp(-square) for square in away), strict=True))


CENTERS, MATRICES = anisotropic(3)


class Wells(Conflict):
    """Three quadratics round a parameter vector, with a little noise of the batch."""

    def __init__(self):
        super().__init__(("main", "other", "third"))
        self.place = nn.Parameter(torch.zeros(6))

    def losses(self, batch):
        values = quadratics(CENTERS.astype("float32"), MATRICES.astype("float32"))(self.place)
        noise = 1e-3 * batch[0].mean(dim=0) @ self.place
        return {name: value + noise + 0.05 for name, value in zip(self.names, values, strict=True)}


def test_with_three_tasks_the_tangent_leads_towards_the_neighbor_on_the_front(front):
    """The predicted point is where the known Pareto set is half way, to second order."""
    _, _, parent, _ = front
    run = make_run(Wells)
    ends = [
        weighted_optima(np.array([w]), CENTERS, MATRICES)[0] for w in ([0.2, 0.3, 0.5], [0.23, 0.33, 0.44])
    ]
    fresh = run.module().state_dict()
    here, there = (
        Solution(name, {**fresh, "place": torch.tensor(end, dtype=torch.float32)}, parent.trajectory)
        for name, end in zip(("here", "there"), ends, strict=True)
    )
    settings = {"damping": 0.0, "tolerance": 1e-4}
    proposal = propose(run, here, there, **settings)
    assert proposal.accepted, proposal.reason
    assert len(proposal.details["beta"]) == 3
    half = weighted_optima(np.array([[0.215, 0.315, 0.47]]), CENTERS, MATRICES)[0]
    error = np.linalg.norm(proposal.state["place"].numpy() - half)
    assert error < 0.15 * np.linalg.norm(ends[1] - ends[0])


def test_a_concave_front_is_stopped_by_the_curvature(front):
    _, _, parent, _ = front
    run = make_run(Concave)
    state = run.module().state_dict()
    other = {**state, "place": torch.full((8,), 0.05)}
    proposal = propose(
        run, Solution("middle", state, parent.trajectory), Solution("right", other, parent.trajectory)
    )
    assert stopped_by(proposal, "curvature")
    assert proposal.details["curvature"] < 0.0


def test_a_network_without_second_derivatives_is_named(front):
    _, _, parent, neighbor = front
    proposal = propose(make_run(lambda: Conflict(activation="once")), parent, neighbor)
    assert stopped_by(proposal, "second derivatives")


def test_a_step_too_far_for_the_model_is_stopped_by_fresh_batches(front):
    """All gates on its own batches have passed; a residual test alone would have let it through."""
    run, _, parent, _ = front
    head = {name: 1e6 * value for name, value in parent.state.items() if name.startswith("heads.other")}
    far = Solution("far", {**parent.state, **head}, parent.trajectory)
    proposal = propose(run, parent, far, place=1.0)
    assert stopped_by(proposal, "confirmation")
    assert all(passed for gate, passed in gates(proposal).items() if gate != "confirmation")
    assert proposal.place == 0.25  # shortened twice, and still too far


def test_losses_that_have_no_logarithm_are_named(front):
    _, _, parent, neighbor = front

    class Negative(Conflict):
        def losses(self, batch):
            return {name: loss - 9.0 for name, loss in super().losses(batch).items()}

    assert stopped_by(propose(make_run(Negative), parent, neighbor), "losses")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"place": 0.0}, r"`search.tangent.place=0.0` must lie in \(0, 1\]"),
        ({"batches": 1}, "`search.tangent.batches=1` must be at least 2"),
        (
            {"curvature_batches": 40},
            "`search.tangent.curvature_batches=40` are taken from `search.tangent.batches=32`",
        ),
        ({"damping": -1.0}, "must not be negative"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        TangentSettings(**settings)
