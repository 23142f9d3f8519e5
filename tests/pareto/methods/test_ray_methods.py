"""What sets the methods that follow one ray apart: rows, exactness."""

import numpy as np
import pytest

from psst.pareto import (
    Preference,
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


def state(logs: list[float], gramian: np.ndarray, step: int = 0) -> StepState:
    return StepState(gramian, np.exp(logs), np.array(logs), step)


def started(method: RayMethod, m: int) -> RayMethod:
    method.start(m)
    return method


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_must_be_finite(value):
    with pytest.raises(ValueError, match="`rows` must be finite"):
        Preference(RAYS, 0, rows=([[0.0, 1.0]], [value])).start(2)


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
    """Balance: no step leads away from the ray faster than the descent alone, most lead toward it."""
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
