"""What sets the methods that follow one ray apart: guards, priorities, exactness."""

import json

import numpy as np
import pytest
import torch
from torchjd.aggregation import PCDWeighting

from psst.pareto import (
    MinNorm,
    Preference,
    Priority,
    Project,
    Ray,
    RayMethod,
    RaySet,
    StepState,
    centered_log,
    min_norm,
)
from tests import laws
from tests.pareto import vlmop2

RAYS = RaySet.constant(
    np.array([[-0.4, 0.4], [0.0, 0.0], [0.4, -0.4]]), np.array([[0.7, 0.3], [0.5, 0.5], [0.3, 0.7]])
)
OPPOSED = np.array([[1.0, -0.9], [-0.9, 1.0]])
CENTER = RaySet.constant(np.zeros((1, 3)))


def state(
    logs: list[float], gramian: np.ndarray, denoised: np.ndarray | None = None, step: int = 0
) -> StepState:
    return StepState(gramian, np.exp(logs), np.array(logs), step, denoised)


def started(method: RayMethod, m: int) -> RayMethod:
    method.start(m)
    return method


def test_conflict_rows_off_leave_the_target():
    lagging = state([2.0, -2.0], OPPOSED, denoised=OPPOSED)
    free = started(Preference(RAYS, 1), 2).decide(lagging)
    np.testing.assert_allclose(free.weights, free.certificates["target"])
    assert (OPPOSED @ free.weights).min() < 0.0
    held = started(Preference(RAYS, 1, conflict_rows=True), 2).decide(lagging)
    assert (OPPOSED @ held.weights).min() >= -1e-12


def test_dropped_conflict_rows_are_counted_through_a_resume():
    opposed, first = (
        np.array([[1.0, -1.0], [-1.0, 1.0]]),
        Preference(RAYS, 1, min_main_share=0.9, conflict_rows=True),
    )
    first.start(2)
    contradicted = state([2.0, -2.0], np.eye(2), denoised=opposed)
    for count in range(1, 4):
        decision = first.decide(contradicted)
        assert (decision.status, decision.certificates["relaxed"]) == ("relaxed", count)
    second = Preference(RAYS, 1, min_main_share=0.9, conflict_rows=True)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.start(2)
    assert second.decide(state([0.0, 0.0], np.eye(2))).certificates["relaxed"] == 3.0
    assert second.decide(contradicted).certificates["relaxed"] == 4.0


@pytest.mark.parametrize("method", [MinNorm, Preference, Priority, Project, Ray])
def test_state_loaded_before_or_after_the_start_is_the_same(method):
    first = started(method(RAYS, 1), 2)
    for step in range(20):
        first.decide(state([1.0, -1.0], OPPOSED, step=step))
    kept = first.state_dict()
    before, after = method(RAYS, 1), started(method(RAYS, 1), 2)
    before.load_state_dict(kept)
    assert before.state_dict() == kept
    before.start(2)
    after.load_state_dict(kept)
    assert before.state_dict() == after.state_dict() == kept
    assert method(RAYS, 1).state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "guarded"),
    [({"conflict_rows": True}, True), ({}, False), ({"min_main_share": 0.9}, True)],
)
def test_ray_given_up_names_the_guard_where_that_was_the_reason(arguments, guarded):
    """The auxiliary task lags and would need the weight that the constraints keep from it."""
    method = started(Preference(RAYS, 1, **arguments), 2)
    logs = [-2.0, 2.0]
    decisions = [method.decide(state(logs, OPPOSED, denoised=OPPOSED, step=step)) for step in range(450)]
    assert decisions[50].certificates["unreachable_by_guard"] == 0.0
    assert decisions[-1].certificates["unreachable"] == 1.0
    assert decisions[-1].certificates["unreachable_by_guard"] == float(guarded)


def test_steps_before_the_sector_was_left_do_not_blame_the_guard():
    method = started(Preference(RAYS, 1, conflict_rows=True), 2)
    for step in range(50):
        method.decide(state([-2.0, 2.0], OPPOSED, denoised=OPPOSED, step=step))
    method.decide(state([0.0, 0.0], np.eye(2), step=50))
    for step in range(51, 700):
        decision = method.decide(state([-2.0, 2.0], np.eye(2), step=step))
    assert decision.certificates["unreachable"] == 1.0
    assert decision.certificates["unreachable_by_guard"] == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_must_be_finite(value):
    with pytest.raises(ValueError, match="`rows` must be finite"):
        Preference(RAYS, 0, rows=([[0.0, 1.0]], [value])).start(2)


@pytest.mark.parametrize("m", [2, 3])
def test_project_never_raises_a_loss_of_its_own_batch(m):
    rng, method = np.random.default_rng(m), started(Project(RaySet.constant(np.zeros((1, m))), 0), m)
    for step in range(40):
        gradients = rng.standard_normal((m, m))
        gramian = gradients @ gradients.T
        decision = method.decide(state(list(rng.standard_normal(m)), gramian, step=step))
        assert (gramian @ decision.weights >= -laws.GAP * gramian.trace()).all()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_priority_on_its_ray_goes_where_pcd_goes(m):
    """Through 30 steps whose gradients grow and shrink: the running means of their lengths agree too."""
    rng = np.random.default_rng(m)
    method = started(Priority(RaySet.constant(np.zeros((1, m))), 0, fraction=0.1), m)
    theirs = PCDWeighting(tau=0.1, eps=0.0)
    for step in range(30):
        gradients = rng.standard_normal((m, m + 2)) * 10.0 ** rng.uniform(-1.0, 1.0, (m, 1))
        gramian = gradients @ gradients.T
        weights = theirs(torch.tensor(gramian)).numpy()
        ours = method.decide(state([0.3] * m, gramian, step=step)).weights
        np.testing.assert_allclose(ours, weights / weights.sum(), atol=1e-7)


def test_priority_guarantees_more_to_a_task_that_lags():
    gradients = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    method = started(Priority(CENTER, 0, fraction=0.05), 3)
    even = method.decide(state([0.0, 0.0, 0.0], gradients))
    np.testing.assert_allclose(even.certificates["fraction"], [1.0, 0.05, 0.05])
    lagging = method.decide(state([-0.6, 1.2, -0.6], gradients))
    assert lagging.certificates["fraction"][1] > 0.05 >= lagging.certificates["fraction"][2]
    assert lagging.weights[1] > even.weights[1]
    assert method.decide(state([-9.0, 9.0, 0.0], gradients)).certificates["fraction"][1] == 1.0


def test_priority_without_a_main_gradient_is_skipped():
    method = started(Priority(CENTER, 0), 3)
    decision = method.decide(state([0.0] * 3, np.diag([0.0, 1.0, 1.0])))
    assert (decision.status, decision.weights.tolist()) == ("skipped", [1.0, 0.0, 0.0])


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_outside_its_range_is_named(fraction):
    with pytest.raises(ValueError, match=rf"`fraction={fraction}` must be in \[0, 1\]"):
        Priority(RAYS, 0, fraction=fraction)


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_ray_keeps_the_ratios_of_losses_that_lie_on_it(m):
    """Descent: where all take part, the logs of all losses fall at one rate."""
    rng, kept = np.random.default_rng(m), 0
    method = started(Ray(RaySet.constant(np.zeros((1, m))), 0), m)
    for step in range(20):
        gradients = rng.standard_normal((m, 3 * m)) + 0.5
        gramian = gradients @ gradients.T
        decision = method.decide(state([0.7] * m, gramian, step=step))
        rates = gramian @ decision.weights
        assert (rates >= -laws.GAP * gramian.trace()).all()
        assert decision.certificates["balance"] == pytest.approx(0.0, abs=1e-12)
        if decision.weights.min() > 0.0:
            kept += 1
            np.testing.assert_allclose(rates, rates.mean(), rtol=1e-8)
    assert kept > 0


@pytest.mark.parametrize("m", [2, 3, 5])
def test_ray_comes_nearer_than_plain_descent_would(m):
    """Balance: no step leads away from the ray faster than the descent alone, most lead towards it."""
    rng, nearer, possible = np.random.default_rng(m), 0, 0
    method = started(Ray(RaySet.constant(np.zeros((1, m))), 0), m)
    for step in range(60):
        logs = centered_log(2.0 * rng.standard_normal(m))
        gradients = rng.standard_normal((m, 2 * m))
        logged = gradients / np.exp(logs)[:, None]  # of the log losses
        decision = method.decide(state(list(logs), gradients @ gradients.T, step=step))
        approach = logged @ (logs @ logged)  # how fast the gradient of each task's log comes nearer
        shares = decision.weights * np.exp(logs) / (decision.weights @ np.exp(logs))
        descent = min_norm(logged @ logged.T).weights
        assert shares @ approach >= descent @ approach - laws.GAP * np.square(logged).sum()
        possible += bool(approach.max() > 0.0)
        nearer += bool(shares @ approach > 0.0)
    assert nearer >= 0.9 * possible > 0


def test_ray_given_up_only_descends():
    method = started(Ray(RAYS, 0), 2)
    gradients = np.array([[1.0, 0.2], [0.3, 1.0]])
    for step in range(500):
        decision = method.decide(state([1.0, -1.0], gradients @ gradients.T, step=step))
    assert decision.certificates["unreachable"] == 1.0
    assert decision.certificates["balance"] == 0.0


def test_loss_that_vanishes_beside_another_leaves_finite_weights():
    decision = started(Ray(RAYS, 1), 2).decide(state([0.0, -1400.0], OPPOSED))
    laws.assert_on_simplex(decision.weights)


@pytest.mark.parametrize(("fading", "degrees"), [(True, 0.05), (False, 6.0)])
def test_ray_ends_on_its_ray(fading, degrees):
    """Shrinking steps end on it; steps of a third of the largest stable one swing about it."""
    rays, n_steps = vlmop2.rays_on_front(6), 300
    methods = [started(Ray(rays, index), 2) for index in range(len(rays))]
    shape = 0.5 * (1.0 + np.cos(np.linspace(0.0, np.pi, n_steps))) if fading else np.ones(n_steps)
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (len(rays), vlmop2.N_PARAMS))
    losses, gap = vlmop2.descend(methods, starts, 0.3 * shape)
    wanted = np.exp(rays.at(0))
    cosines = (losses * wanted).sum(axis=1) / np.linalg.norm(losses, axis=1) / np.linalg.norm(wanted, axis=1)
    assert np.degrees(np.arccos(np.minimum(cosines, 1.0))).max() <= degrees
    assert vlmop2.front_distance(losses).max() <= 1e-3
    assert gap <= laws.GAP
