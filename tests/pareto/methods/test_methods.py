import numpy as np
import pytest

from psst.pareto import FixedWeights, MinNorm, Preference, RaySet, StepState, Tradeoff

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
    with pytest.raises(ValueError, match=r"`auxiliary=-0\.1` must be finite and not negative"):
        FixedWeights(-0.1)
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
    assert method.decide(state([2.0, -2.0])).weights[1] == pytest.approx(0.2)


def test_preference_uses_a_denoised_gramian_as_guard():
    method = Preference(RAYS, 1, conflict_rows=True)
    method.start(2)
    opposed = np.array([[1.0, -0.9], [-0.9, 1.0]])
    free = method.decide(state([2.0, -2.0], gramian=opposed))
    guarded = method.decide(StepState(opposed, np.ones(2), np.array([2.0, -2.0]), 1, denoised=opposed))
    assert (opposed @ free.weights).min() < 0
    assert (opposed @ guarded.weights).min() >= -1e-12


def test_out_of_reach_preference_reports_it_and_goes_on_at_the_prior():
    method = Preference(RAYS, 0)
    method.start(2)
    decisions = [method.decide(state([1.0, -1.0], step)) for step in range(250)]
    assert decisions[100].weights[0] > 0.99
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
    with pytest.raises(ValueError, match=r"`min_main_share=1\.5` must be in \[0, 1\]"):
        Preference(RAYS, 0, min_main_share=1.5)
    with pytest.raises(ValueError, match=r"`rows` must be \(A \[r, 2\], b \[r\]\)"):
        Preference(RAYS, 0, rows=([[1.0, 0.0, 0.0]], [0.1])).start(2)
    with pytest.raises(ValueError, match="leave no weights"):
        Preference(RAYS, 0, min_main_share=0.6, rows=([[0.0, 1.0]], [0.5])).start(2)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_tradeoff_zero_is_exactly_the_main_task(m):
    method = Tradeoff(0.0, warmup_steps=3)
    method.start(m)
    for step in range(10):
        np.testing.assert_array_equal(method.decide(state([0.3 * step] * m, step)).weights, np.eye(m)[0])


def test_tradeoff_starts_equal_and_then_follows_its_prior_on_the_ray():
    found = []
    for value in (0.1, 0.5, 1.0):
        method = Tradeoff(value, warmup_steps=5)
        method.start(3)
        weights = [method.decide(state([0.2, -0.1, -0.1], step)).weights for step in range(8)]
        np.testing.assert_allclose(weights[4], 1.0 / 3.0)
        np.testing.assert_allclose(
            weights[-1], [1 - value, value / 2, value / 2] if value < 1 else [0.05, 0.475, 0.475], atol=0.1
        )
        found.append(weights[-1][0])
    assert found[0] > found[1] > found[2] > 0.0


def test_tradeoff_gives_weight_to_the_task_that_falls_behind():
    method = Tradeoff(0.5, warmup_steps=5)
    method.start(2)
    for step in range(5):
        method.decide(state([0.0, 0.0], step))
    assert method.decide(state([0.0, -0.8], 5)).weights[0] > 0.9


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_tradeoff_outside_its_range_is_named(value):
    with pytest.raises(ValueError, match=rf"`tradeoff={value}` must be in \[0, 1\]"):
        Tradeoff(value)
    with pytest.raises(ValueError, match="`warmup_steps=-1` must not be negative"):
        Tradeoff(0.5, warmup_steps=-1)
