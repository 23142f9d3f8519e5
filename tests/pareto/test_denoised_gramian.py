"""Laws of the denoised Gramian: products of different batches, and nothing else."""

import numpy as np
import pytest
import torch

from psst.pareto.denoise import DenoisedGramian, cosines, criticality
from psst.pareto.products import inner_products

DECAY = 0.9
ENOUGH = 10  # steps: 1 / (1 - DECAY)


def batches(n_steps, m=2, n=6, mean=0.0, seed=0):
    """``[n_steps, m, n]`` gradients; noise of one batch is shared by half between the tasks."""
    rng = torch.Generator().manual_seed(seed)
    own = torch.randn(n_steps, m, n, generator=rng, dtype=torch.float64)
    common = torch.randn(n_steps, 1, n, generator=rng, dtype=torch.float64)
    return mean + 0.7 * (own + common)


def as_tasks(step):
    """Two parameters, one of them two-dimensional."""
    return [{0: row[:2].clone(), 3: row[2:].reshape(2, -1).clone()} for row in step]


def feed(denoiser, steps):
    found = None
    for step in steps:
        found = take(denoiser, as_tasks(step))
    return found


def take(denoiser, gradients, shared=(0, 3)):
    parameters = [torch.zeros(1)] * 4
    memory = denoiser.memory(parameters)
    cross = inner_products(gradients, memory, shared).double().numpy() if memory else None
    return denoiser.update(cross, gradients, set(shared))


def semidefinite(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0)) @ vectors.T


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("n_steps", [ENOUGH, 25])
def test_ema_is_the_weighted_mean_over_all_pairs_of_different_batches(n_steps, m):
    steps = batches(n_steps, m, mean=0.5)
    found = feed(DenoisedGramian(DECAY), steps)
    share = DECAY ** np.arange(n_steps)[::-1]
    pairs = np.outer(share, share)
    np.fill_diagonal(pairs, 0.0)
    flat = steps.numpy()
    expected = np.einsum("st,sip,tjp->ij", pairs, flat, flat) / pairs.sum()
    assert np.allclose(found, semidefinite(expected), rtol=1e-10, atol=1e-12)


def test_noise_is_gone_from_the_diagonal_and_where_tasks_share_a_batch():
    """The mean over 20 runs is within 5 standard errors of the true Gramian; a batch's own is 3 times it."""
    truth = np.full((2, 2), 6 * 0.4**2)
    found = []
    for seed in range(20):
        denoiser = DenoisedGramian(0.98)
        feed(denoiser, batches(60, mean=0.4, seed=seed))
        found.append(denoiser._sum / denoiser._weight)  # the projection that follows is not linear
    error = 5 * np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - truth) < error).all()
    assert (error < truth).all()
    noisy = np.mean([batch @ batch.T for batch in batches(200, mean=0.4).numpy()], axis=0)
    assert (noisy > 3 * truth).all()


def test_nothing_is_told_before_enough_steps_and_then_never_an_indefinite_matrix():
    denoiser = DenoisedGramian(DECAY)
    for number, step in enumerate(batches(60), start=1):
        found = take(denoiser, as_tasks(step))
        assert (found is None) == (number < ENOUGH)
        if found is not None:
            assert np.array_equal(found, found.T) or np.allclose(found, found.T, rtol=1e-12)
            assert np.linalg.eigvalsh(found).min() >= -1e-12 * max(found.trace(), 1e-300)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_it_scales_with_the_square_of_the_gradients(scale):
    one = feed(DenoisedGramian(DECAY), batches(20, mean=0.5))
    other = feed(DenoisedGramian(DECAY), scale * batches(20, mean=0.5))
    assert np.allclose(other, scale**2 * one, rtol=1e-9, atol=0)


def test_state_survives_a_file_bit_for_bit_in_plain_values_and_tensors(tmp_path):
    steps = batches(30, mean=0.5).float()
    whole, first, second = (DenoisedGramian(DECAY) for _ in range(3))
    expected = feed(whole, steps)
    feed(first, steps[:17])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert np.array_equal(feed(second, steps[17:]), expected)


def test_the_state_is_a_copy():
    denoiser = DenoisedGramian(DECAY)
    feed(denoiser, batches(3))
    state = denoiser.state_dict()
    before = state["memory"][0][0].clone()
    feed(denoiser, batches(3))
    assert torch.equal(before, state["memory"][0][0])


def test_a_step_that_is_not_finite_is_left_out():
    steps = batches(20, mean=0.5)
    clean, hit = DenoisedGramian(DECAY), DenoisedGramian(DECAY)
    expected = feed(clean, steps)
    feed(hit, steps[:9])
    broken = as_tasks(steps[9])
    broken[0][0][0] = torch.inf
    take(hit, broken)
    assert np.array_equal(feed(hit, steps[9:]), expected)


def test_a_task_that_is_absent_counts_as_zero_and_a_parameter_may_come_late():
    steps = batches(20, mean=0.5)
    denoiser, zeros = DenoisedGramian(DECAY), steps.clone()
    zeros[5, 1] = 0.0  # absent
    zeros[:3, :, 2:] = 0.0  # the second parameter is not shared yet
    for number, step in enumerate(steps):
        tasks = as_tasks(step)
        if number == 5:
            tasks[1] = {}
        found = take(denoiser, tasks, shared=(0,) if number < 3 else (0, 3))
    assert np.allclose(found, feed(DenoisedGramian(DECAY), zeros), rtol=1e-12)


def test_half_precision_gradients_are_averaged_in_float32():
    """An average kept in bfloat16 itself would stand still: a hundredth is below its rounding."""
    denoiser = DenoisedGramian(0.99)
    for _ in range(400):
        found = take(denoiser, [{0: torch.ones(4, dtype=torch.bfloat16)} for _ in range(2)], shared=(0,))
    assert denoiser.memory([torch.zeros(1)])[0][0].dtype == torch.float32
    assert np.allclose(found, 4.0, rtol=1e-4)


def test_cosines_and_criticality_are_those_of_the_gradients():
    rng = np.random.default_rng(0)
    jacobian, weights = rng.normal(size=(3, 5)), np.array([0.5, 0.2, 0.3])
    gramian, lengths = jacobian @ jacobian.T, np.linalg.norm(jacobian, axis=1)
    unit = jacobian / lengths[:, None]
    assert np.allclose(cosines(gramian), unit @ unit.T)
    assert criticality(gramian, weights) == pytest.approx(np.linalg.norm(weights @ jacobian) / lengths.min())
    opposed = np.array([[1.0, -2.0], [-2.0, 4.0]])
    assert criticality(opposed, np.array([2 / 3, 1 / 3])) == pytest.approx(0.0, abs=1e-7)


def test_a_gradient_of_length_zero_has_no_angle_and_no_criticality():
    gramian = np.diag([1.0, 0.0])
    assert np.isnan(cosines(gramian)[0, 1])
    assert np.isnan(criticality(gramian, np.array([0.5, 0.5])))
