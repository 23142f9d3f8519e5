import pickle
import re
from itertools import pairwise

import numpy as np
import pytest

from psst.pareto import FixedWeights, LossEMA, MinNorm, Preference, RaySet, StepState, Tradeoff

EYE = np.eye(2)
RAYS = RaySet.constant(
    np.array([[-0.4, 0.4], [0.0, 0.0], [0.4, -0.4]]), np.array([[0.7, 0.3], [0.5, 0.5], [0.3, 0.7]])
)


def state(log_losses: list[float], step: int = 0, gramian: np.ndarray | None = None) -> StepState:
    logs = np.array(log_losses)
    return StepState(np.eye(len(logs)) if gramian is None else gramian, np.exp(logs), logs, step)


@pytest.mark.parametrize(
    ("auxiliary", "m", "expected"),
    [(0.0, 3, [1, 0, 0]), (1.0, 3, [1 / 3] * 3), ([0.5, 0.5], 3, [0.5, 0.25, 0.25]), (0.3, 1, [1.0])],
)
def test_fixed_weights_are_the_normalized_ones(auxiliary, m, expected):
    method = FixedWeights(auxiliary)
    method.start(m)
    np.testing.assert_allclose(method.decide(state([0.0] * m)).weights, expected, atol=1e-15)


def test_fixed_weights_refuse_what_does_not_fit():
    for wrong in (-0.1, "often", ["often"], [[0.1]], True):
        with pytest.raises(ValueError, match=re.escape(f"`auxiliary={wrong!r}` must be finite and not")):
            FixedWeights(wrong)
    with pytest.raises(ValueError, match=r"has 2 weights for 1 auxiliary tasks"):
        FixedWeights([0.1, 0.2]).start(2)


def test_preference_on_its_ray_takes_the_prior():
    method = Preference(RAYS, 0)
    method.start(2)
    decision = method.decide(state([-0.4, 0.4]))
    np.testing.assert_allclose(decision.weights, [0.7, 0.3])
    assert decision.certificates["in_sector"] == 1.0
    assert decision.certificates["distance"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", [Preference, MinNorm])
@pytest.mark.parametrize("lagging", [0, 1])
def test_task_lagging_behind_its_ray_gains_weight(kind, lagging):
    method = kind(RAYS, 1)
    method.start(2)
    logs = [0.0, 0.0]
    logs[lagging] = 1.0
    decision = method.decide(state(logs))
    assert decision.weights[lagging] > 0.7
    assert decision.certificates["error"][lagging] > 0
    assert decision.certificates["in_sector"] == 0.0


def test_preference_keeps_the_main_share_and_the_rows():
    method = Preference(RAYS, 1, min_main_share=0.4, rows=([[0.0, 1.0]], [0.2]))
    method.start(2)
    assert method.decide(state([-2.0, 2.0])).weights[0] == pytest.approx(0.4)
    assert method.decide(state([2.0, -2.0], 1)).weights[1] == pytest.approx(0.2)


def test_out_of_reach_preference_reports_it_and_goes_on_at_the_prior():
    method = Preference(RAYS, 0)
    method.start(2)
    decisions = [method.decide(state([1.0, -1.0], step)) for step in range(250)]
    assert decisions[100].weights[0] > 0.96
    np.testing.assert_allclose(decisions[-1].weights, [0.7, 0.3])
    assert decisions[-1].certificates["unreachable"] == 1.0
    assert decisions[-1].certificates["nearest_distance"] == pytest.approx(3.5)


def test_preference_on_a_moving_ray_looks_up_the_step():
    points = np.stack([np.linspace([-1.0, 1.0], [0.0, 0.0], 11), np.linspace([1.0, -1.0], [1.0, -1.0], 11)])
    method = Preference(RaySet(points, 100, np.ones((2, 2))), 0)
    method.start(2)
    for step, place in [(0, -1.0), (105, -0.5), (999, 0.0)]:
        assert method.decide(state([place, -place], step)).certificates["distance"] == pytest.approx(
            0, abs=1e-9
        )


@pytest.mark.parametrize("kind", [Preference, MinNorm])
def test_rays_come_from_a_file_and_are_checked(kind, tmp_path):
    path = tmp_path / "rays.npz"
    RAYS.save(path)
    kind(str(path), 2).start(2)
    with pytest.raises(ValueError, match=r"`index=3` must name one of 3 rays; choose 0 to 2"):
        kind(path, 3).start(2)
    with pytest.raises(ValueError, match="made for 2 tasks, the model has 3"):
        kind(path, 0).start(3)
    with pytest.raises(FileNotFoundError, match="`rays="):
        kind(tmp_path / "none.npz", 0).start(2)


def test_preference_refuses_what_leaves_no_weights():
    with pytest.raises(ValueError, match=r"`min_main_share=1\.5` must be a number in \[0, 1\]"):
        Preference(RAYS, 0, min_main_share=1.5)
    with pytest.raises(ValueError, match=r"`rows` must be \(A \[r, 2\], b \[r\]\)"):
        Preference(RAYS, 0, rows=([[1.0, 0.0, 0.0]], [0.1])).start(2)
    with pytest.raises(ValueError, match="leave no weights"):
        Preference(RAYS, 0, min_main_share=0.6, rows=([[0.0, 1.0]], [0.5])).start(2)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_tradeoff_zero_is_exactly_the_main_task(m):
    method = Tradeoff(0.0)
    method.start(m)
    for step in range(10):
        np.testing.assert_array_equal(method.decide(state([0.3 * step] * m, step)).weights, np.eye(m)[0])


def wandering(m: int, factor: float = 1.0) -> list[StepState]:
    """Losses on a frozen trajectory; the auxiliary ones times `factor`."""
    rng, ema, logs, found = np.random.default_rng(4), LossEMA(), np.zeros(m), []
    for step in range(200):
        logs = logs - 0.01 + 0.1 * rng.standard_normal(m)
        losses = np.exp(logs) * np.r_[1.0, np.full(m - 1, factor)]
        found.append(StepState(None, losses, ema.update(losses, step), step))
    return found


def decided(tradeoff: float, states: list[StepState]) -> np.ndarray:
    method = Tradeoff(tradeoff)
    method.start(len(states[0].losses))
    return np.stack([method.decide(state).weights for state in states])


@pytest.mark.parametrize("m", [2, 4])
def test_tradeoff_shares_out_losses_in_units_of_their_sizes(m):
    """``S_main a_i / S_i``, S the mean or 0.3 of its largest; main falls, the others do not."""
    states = wandering(m)
    means = np.exp([state.log_losses for state in states])
    largest = np.concatenate([means[:10], np.maximum.accumulate(means[9:])[1:]])
    sizes = np.maximum(means, 0.3 * largest)
    found = [decided(t, states) for t in (0.0, 0.1, 0.5, 0.9, 1.0)]
    np.testing.assert_allclose(found[2][:, 1:], 0.5 / m * sizes[:, :1] / sizes[:, 1:])
    np.testing.assert_array_equal(found[0], np.eye(m)[0][None].repeat(len(states), axis=0))
    np.testing.assert_allclose(found[4][:, 0], 1.0 / m)
    for less, more in pairwise(found):
        assert (more[:, 1:] >= less[:, 1:]).all()
        assert (more[:, 0] < less[:, 0]).all()


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_constant_factor_of_an_auxiliary_loss_leaves_the_gradient(m, factor):
    """Of the shared part, in float64, on a frozen trajectory: the gradient grows by what the weight loses."""
    gradients = np.random.default_rng(0).standard_normal((200, m, 7))
    factors = np.r_[1.0, np.full(m - 1, factor)]
    plain = np.einsum("sm,smp->sp", decided(0.3, wandering(m)), gradients)
    scaled = np.einsum("sm,smp->sp", decided(0.3, wandering(m, factor)), gradients * factors[:, None])
    np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-9 * np.abs(plain).max())


@pytest.mark.parametrize(("vanishing", "bound"), [(0, 0.3), (1, 1.0 / 0.3)])
def test_a_loss_that_vanishes_neither_takes_over_nor_takes_the_others_along(vanishing, bound):
    ema, method = LossEMA(0.5), Tradeoff(1.0)
    method.start(2)
    for step in range(100):
        losses = np.ones(2)
        losses[vanishing] = 10.0 ** -max(step - 20, 0)
        decision = method.decide(StepState(None, losses, ema.update(losses, step), step))
    np.testing.assert_allclose(decision.weights, [0.5, 0.5 * bound])


def test_a_main_loss_that_merely_starts_high_is_not_counted_so():
    ema, method = LossEMA(), Tradeoff(1.0)
    method.start(2)
    for step in range(100):
        losses = np.array([1000.0 if step == 0 else 1.0, 1.0])
        decision = method.decide(StepState(None, losses, ema.update(losses, step), step))
    assert decision.weights[1] < 5.0


def test_tradeoff_costs_the_same_after_many_steps():
    """Its memory is a pair of vectors, however long it has run."""
    method, states = Tradeoff(0.3), wandering(3)
    method.start(3)
    sizes = []
    for _ in range(20):
        for state in states:
            method.decide(state)
        sizes.append(len(pickle.dumps(method)))
    assert max(sizes) == min(sizes)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.3", True])
def test_tradeoff_outside_its_range_is_named(value):
    with pytest.raises(ValueError, match=rf"`tradeoff={value!r}` must be a number in \[0, 1\]"):
        Tradeoff(value)
