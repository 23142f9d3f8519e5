"""Laws of every method; a new one joins `METHODS` or fails the last test."""

import inspect
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from psst.pareto import (
    FixedWeights,
    Levels,
    LossEMA,
    Method,
    MinNorm,
    Preference,
    Ray,
    RaySet,
    RelativeWeights,
    StepState,
    Tradeoff,
)
from tests import laws

STEPS = 30


def rays_of(m: int, factors: np.ndarray, order: np.ndarray) -> RaySet:
    rng = np.random.default_rng(5)
    losses, priors = rng.uniform(0.5, 2.0, (6, m)) * factors, rng.dirichlet(np.full(m, 3.0), size=6)
    return RaySet.from_losses(losses[:, order], priors[:, order], noise=0.01)


METHODS: dict[str, Callable[[int, np.ndarray, np.ndarray], Method]] = {
    "FixedWeights": lambda m, factors, order: FixedWeights(list(np.arange(m)[order][1:] / 3.0)),
    "Preference": lambda m, factors, order: Preference(rays_of(m, factors, order), 2),
    "MinNorm": lambda m, factors, order: MinNorm(rays_of(m, factors, order), 2),
    "Ray": lambda m, factors, order: Ray(rays_of(m, factors, order), 2),
    "RelativeWeights": lambda m, factors, order: RelativeWeights(list(np.arange(m)[order][1:] / 3.0)),
    "Tradeoff": lambda m, factors, order: Tradeoff(0.3),
    "Levels": lambda m, factors, order: Levels(
        {f"task {i}": float(0.5 * factors[i]) for i in range(1, m, 2)} or {"task 1": 1.0}
    ),
}
every_method = pytest.mark.parametrize("name", METHODS)
ON_SIMPLEX = sorted(set(METHODS) - {"RelativeWeights", "Tradeoff", "Levels"})
"""The others weigh by the scale of losses or gradients."""
every_m = pytest.mark.parametrize("m", [2, 3])


def states(m: int, factors: np.ndarray | None = None, order: np.ndarray | None = None) -> list[StepState]:
    """Losses that wander, gradients that are noise; task i times ``factors[i]``, tasks in `order`."""
    rng, ema, found = np.random.default_rng(11), LossEMA(0.8), []
    factors = np.ones(m) if factors is None else factors
    order = np.arange(m) if order is None else order
    logs = np.zeros(m)
    for step in range(STEPS):
        logs = logs + 0.2 * rng.standard_normal(m)
        losses = (np.exp(logs) * factors)[order]
        gradients = (rng.standard_normal((m, 10)) * factors[:, None])[order]
        found.append(StepState(gradients @ gradients.T, losses, ema.update(losses), step))
    return found


def run(method: Method, steps: list[StepState]) -> np.ndarray:
    return np.stack([method.decide(state).weights for state in steps])


def started(name: str, m: int, factors: np.ndarray | None = None, order: np.ndarray | None = None) -> Method:
    factors = np.ones(m) if factors is None else factors
    order = np.arange(m) if order is None else order
    method = METHODS[name](m, factors, order)
    method.name_tasks([f"task {i}" for i in order])
    method.start(m)
    return method


@every_method
@pytest.mark.parametrize("m", [1, 2, 3, 5, 10])
def test_weights_lie_on_the_simplex_and_the_gap_is_closed(name, m):
    if name == "Levels" and m == 1:
        pytest.skip("no task has a level")
    method = started(name, m)
    for state in states(m):
        decision = method.decide(state)
        if name in ON_SIMPLEX:
            laws.assert_on_simplex(decision.weights)
        assert (decision.weights >= 0.0).all()
        assert np.isfinite(decision.weights).all()
        assert 0.0 <= decision.kkt_gap <= laws.GAP
        assert decision.status == "optimal"


@every_method
def test_a_method_that_needs_no_gramian_looks_at_none(name):
    method, twin = started(name, 3), started(name, 3)
    for state in states(3):
        without = StepState(None, state.losses, state.log_losses, state.step)
        if not method.needs_gramian:
            np.testing.assert_array_equal(method.decide(without).weights, twin.decide(state).weights)


@every_method
def test_batches_of_one_step_move_no_clock(name):
    """A step of three batches leaves what one batch leaves: patience, drift and counters follow the step."""
    once, thrice = started(name, 3), started(name, 3)
    for state in states(3):
        once.decide(state)
        for _ in range(3):
            thrice.decide(state)
    assert once.state_dict() == thrice.state_dict()


@every_method
def test_a_mean_without_logarithm_holds_the_last_weights(name):
    method, before = started(name, 3), None
    for state in states(3)[:10]:
        before = method.decide(state)
    logs = state.log_losses.copy()
    logs[2] = np.nan
    decision = method.decide(StepState(state.gramian, state.losses, logs, state.step + 1))
    if name == "Levels":
        assert np.isfinite(decision.weights).all()  # a level over a loss below zero is kept
    else:
        np.testing.assert_allclose(decision.weights, before.weights, rtol=0.5)
        np.testing.assert_allclose(decision.weights[2], before.weights[2], rtol=1e-12)


@every_method
@every_m
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_common_scale_of_all_losses_changes_nothing(name, m, scale):
    factors = np.full(m, scale)
    scaled = run(started(name, m, factors), states(m, factors))
    np.testing.assert_allclose(scaled, run(started(name, m), states(m)), atol=1e-8)


@pytest.mark.parametrize("name", ["FixedWeights", "Preference"])  # MinNorm weighs by gradient norms
@every_m
def test_scale_of_one_loss_changes_nothing(name, m):
    factors = np.ones(m)
    factors[-1] = 100.0
    scaled = run(started(name, m, factors), states(m, factors))
    np.testing.assert_allclose(scaled, run(started(name, m), states(m)), atol=1e-8)


@pytest.mark.parametrize("name", ["Ray", "Tradeoff"])
@every_m
def test_scale_of_one_loss_leaves_the_direction(name, m):
    """They weigh the gradients of log losses: what a gradient grows by, its weight loses."""
    factors = np.ones(m)
    factors[-1] = 100.0
    scaled = run(started(name, m, factors), states(m, factors)) * factors
    plain = run(started(name, m), states(m))
    shares = (weights / weights.sum(axis=1, keepdims=True) for weights in (scaled, plain))
    np.testing.assert_allclose(*shares, atol=1e-8)


@every_method
def test_duplicated_gradients_are_survived(name):
    method = started(name, 3)
    for state in states(3):
        twice = np.array([0, 1, 1])
        decision = method.decide(
            StepState(state.gramian[np.ix_(twice, twice)], state.losses, state.log_losses, state.step)
        )
        assert (decision.weights >= 0.0).all()
        assert np.isfinite(decision.weights).all()
        assert decision.kkt_gap <= laws.GAP


@every_method
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_of_all_gradients_changes_nothing(name, scale):
    first, second = started(name, 3), started(name, 3)
    for state in states(3):
        scaled = StepState(scale * state.gramian, state.losses, state.log_losses, state.step)
        np.testing.assert_allclose(first.decide(scaled).weights, second.decide(state).weights, atol=1e-8)


@every_method
def test_order_of_the_auxiliary_tasks_does_not_matter(name):
    order = np.array([0, 2, 1])
    swapped = run(started(name, 3, order=order), states(3, order=order))
    np.testing.assert_allclose(swapped, run(started(name, 3), states(3))[:, order], atol=1e-8)


@every_method
@every_m
def test_resumed_run_decides_as_the_whole_one(name, m):
    steps = states(m)
    whole = run(started(name, m), steps)
    for cut in (3, 15):
        first, second = started(name, m), started(name, m)
        run(first, steps[:cut])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))  # plain values only
        np.testing.assert_array_equal(run(second, steps[cut:]), whole[cut:])
        assert second.state_dict().keys() == first.state_dict().keys()


@every_method
def test_pickled_method_decides_alike(name):
    method = started(name, 2)
    twin = pickle.loads(pickle.dumps(method))
    np.testing.assert_array_equal(run(method, states(2)), run(twin, states(2)))


@every_method
@every_m
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_gramian_that_says_nothing_is_reported_and_survived(name, m, value):
    state, method = states(m)[0], started(name, m)
    decision = method.decide(StepState(np.full((m, m), value), state.losses, state.log_losses, 0))
    assert decision.status == ("skipped" if method.needs_gramian else "optimal")
    assert np.isfinite(decision.weights).all()


def concrete(kind: type[Method]) -> set[str]:
    found = {name for below in kind.__subclasses__() for name in concrete(below)}
    ours = kind.__module__.startswith("psst.pareto.") and not inspect.isabstract(kind)
    return found | {kind.__name__} if ours else found


def test_every_method_joins_the_laws():
    assert concrete(Method) == set(METHODS)
