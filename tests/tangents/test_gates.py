"""Each gate passes what it should and says why it stops the rest."""

import numpy as np
import pytest
import torch

from psst.tangents.front_gradients import FrontGradients, front_gradients
from psst.tangents.gates import confirmed, critical, curved, reliable, solved
from psst.tangents.tangent import tangent
from tests.pareto.problems import weighted_optima
from tests.tangents.smooth_problems import anisotropic, at, quadratics, vlmop2, vlmop2_optimum

WEIGHTS = np.array([0.3, 0.7])
BETA = np.array([1.0, -1.0]) / np.sqrt(2)


def optimum():
    centers, matrices = anisotropic(2)
    return quadratics(centers, matrices), weighted_optima(WEIGHTS[None], centers, matrices)[0]


def noisy(noise, count=40, away=0.0, seed=0):
    """Gradients of quadratics with white noise, at the optimum or away from it."""
    losses, point = optimum()
    parameter = torch.tensor(point + away, requires_grad=True)
    rng = torch.Generator().manual_seed(seed)
    draws = noise * torch.randn(count, 2, len(point), generator=rng, dtype=torch.float64)
    batches = [lambda draw=draw: list(losses(parameter) + draw @ parameter) for draw in draws]
    return front_gradients([batches[::2], batches[1::2]], [parameter])


def test_a_point_of_the_front_is_critical_and_one_away_from_it_is_not():
    assert critical(noisy(0.0), WEIGHTS).passed
    far = critical(noisy(0.0, away=1.0), WEIGHTS)
    assert not far.passed
    assert far.value > 0.3
    assert "train longer" in far.reason


def test_criticality_is_fooled_by_noise_less_often_than_the_mean_gradients_are():
    raw, denoised = [], []
    for seed in range(40):
        found = noisy(0.2, seed=seed)
        mixed = torch.as_tensor(WEIGHTS) @ found.jacobian
        raw.append(float(mixed.norm() / found.jacobian.norm(dim=1).min()) < 0.3)
        denoised.append(critical(found, WEIGHTS).passed)
    assert sum(denoised) >= 2 * sum(raw)


def test_a_gradient_lost_in_noise_is_named():
    lost = FrontGradients((np.ones((1, 2)),) * 2, (torch.ones(2, 3), torch.ones(2, 3)), np.diag([0.0, 1.0]))
    verdict = critical(lost, WEIGHTS)
    assert not verdict.passed
    assert "noise" in verdict.reason


def test_reliability_is_the_correlation_of_the_mean_with_another_of_as_many_batches():
    """Spearman and Brown's prophecy, against the cosine with a second set of batches."""
    values, cosines = [], []
    for seed in range(30):
        one, other = noisy(0.2, count=20, seed=2 * seed), noisy(0.2, count=20, seed=2 * seed + 1)
        values.append(reliable(one, BETA).value)
        sides = [torch.as_tensor(BETA) @ found.jacobian for found in (one, other)]
        cosines.append(float(torch.cosine_similarity(*sides, dim=0)))
    assert np.mean(values) == pytest.approx(np.mean(cosines), abs=0.05)


def test_a_side_that_is_noise_is_refused():
    assert reliable(noisy(0.01), BETA).passed
    verdict = reliable(noisy(20.0), BETA)
    assert not verdict.passed
    assert "use more batches" in verdict.reason
    assert not reliable(noisy(0.0), np.zeros(2)).passed
    opposed = FrontGradients((np.ones((1, 2)),) * 2, (torch.eye(2), -torch.eye(2)), np.eye(2))
    assert reliable(opposed, BETA).value < 0.0


@pytest.mark.parametrize(("place", "passes"), [(0.9, True), (0.0, False)])
def test_only_upward_curvature_passes(place, passes):
    point, weights = vlmop2_optimum(place)
    found, hessian = at(vlmop2, point, weights)
    verdict = curved(tangent(found.jacobian, hessian, found.mean_losses, np.array([0.1, -0.1])))
    assert verdict.passed is passes
    assert np.sign(verdict.value) == (1 if passes else -1)
    assert ("concave" in verdict.reason) is not passes


def test_a_tangent_without_a_direction_is_refused():
    losses = quadratics(np.zeros((2, 3)), np.stack([np.eye(3)] * 2))
    found, hessian = at(losses, np.zeros(3), WEIGHTS)
    taken = tangent(found.jacobian, hessian, np.ones(2), np.array([0.1, -0.1]))
    assert "no direction" in curved(taken).reason
    assert not solved(taken).passed


def test_a_system_that_is_hardly_solved_is_refused():
    losses, point = optimum()
    found, hessian = at(losses, point, WEIGHTS)
    towards = np.array([0.1, -0.1])
    assert solved(tangent(found.jacobian, hessian, found.mean_losses, towards)).passed
    drowned = tangent(found.jacobian, hessian, found.mean_losses, towards, damping=100.0)
    verdict = solved(drowned)
    assert not verdict.passed
    assert "less damping" in verdict.reason


PREDICTED = np.array([-0.02, 0.05])


def test_a_confirmed_fall_passes_and_a_rise_does_not():
    noise = 0.01 * np.random.default_rng(0).standard_normal((40, 2))
    assert confirmed(PREDICTED + noise, np.ones(2), PREDICTED).passed
    worse = confirmed(-PREDICTED + noise, np.ones(2), PREDICTED)
    assert not worse.passed
    assert "-2 are needed" in worse.reason


def test_losses_that_all_rise_are_refused_though_their_ratio_moves_as_wanted():
    rising = np.tile([0.02, 0.2], (40, 1)) + 0.01 * np.random.default_rng(0).standard_normal((40, 2))
    assert not confirmed(rising, np.ones(2), PREDICTED).passed


def test_chance_passes_as_often_as_two_standard_errors_allow():
    rng = np.random.default_rng(0)
    passed = [confirmed(rng.standard_normal((30, 2)), np.ones(2), PREDICTED).passed for _ in range(2000)]
    assert np.mean(passed) == pytest.approx(0.027, abs=0.012)


def test_the_scale_of_the_losses_plays_no_part_in_the_confirmation():
    changes = PREDICTED + 0.01 * np.random.default_rng(0).standard_normal((40, 2))
    scales = np.array([1e3, 1e-3])
    plain = confirmed(changes, np.ones(2), PREDICTED).value
    assert confirmed(changes * scales, scales, PREDICTED * scales).value == pytest.approx(plain, rel=1e-9)


def test_one_batch_or_no_promise_confirms_nothing():
    assert not confirmed(PREDICTED[None], np.ones(2), PREDICTED).passed
    verdict = confirmed(np.tile(PREDICTED, (9, 1)), np.ones(2), np.array([0.0, 0.1]))
    assert "promises no loss to fall" in verdict.reason
