"""Products with Hessians: against the dense matrix, on every batch, at a cost that is counted."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional as F

from psst.tangents.curvature import WeightedHessian, flatten, split
from psst.tangents.front_gradients import front_gradients


def two_heads():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    batches = [
        (torch.randn(7, 4, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)) for _ in "abcde"
    ]
    return network, batches


def losses_of(network, batch, parameters=None):
    x, y = batch
    output = network(x) if parameters is None else functional_call(network, parameters, (x,))
    return [F.mse_loss(output[:, 0], y[:, 0]), torch.cosh(output[:, 1] - y[:, 1]).mean()]


def closures(network, batches):
    return [lambda batch=batch: losses_of(network, batch) for batch in batches]


@pytest.mark.parametrize("keep", [False, True])
def test_products_are_those_of_the_mean_dense_hessian(keep):
    network, batches = two_heads()
    weights = [0.3, 0.7]
    names, values = zip(*network.named_parameters(), strict=True)

    def weighted(vector):
        parts = dict(zip(names, split(vector, values), strict=True))
        means = [
            sum(w * loss for w, loss in zip(weights, losses_of(network, batch, parts), strict=True))
            for batch in batches
        ]
        return torch.stack(means).mean()

    dense = hessian(weighted)(flatten(values))
    operator = WeightedHessian(closures(network, batches), values, weights, keep)
    for _ in range(3):
        vector = torch.randn(len(dense), dtype=torch.float64)
        torch.testing.assert_close(operator(vector), dense @ vector)
    assert operator.products == 3
    assert operator.steps == (5 * 1.3 + 3 * 5 * 5.0 if keep else 3 * 5 * 6.5)


def test_a_loss_of_weight_zero_is_never_differentiated():
    network, batches = two_heads()
    values = list(network.parameters())

    def losses():
        first, second = losses_of(network, batches[0])
        return [first, second * torch.nan]

    vector = torch.ones(sum(value.numel() for value in values), dtype=torch.float64)
    assert WeightedHessian([losses], values, [1.0, 0.0])(vector).isfinite().all()


def test_losses_without_curvature_and_parameters_without_losses_give_zeros():
    used, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    linear = WeightedHessian([lambda: [used.sum(), 2 * used.sum()]], [used, unused], [0.5, 0.5])
    assert not linear(torch.ones(5)).any()
    square = WeightedHessian([lambda: [used.square().sum(), used.sum()]], [used, unused], [0.5, 0.5])
    assert square(torch.ones(5)).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_gradients_are_means_over_the_halves_and_the_gramian_is_that_between_them():
    network, batches = two_heads()
    values, functions = list(network.parameters()), closures(network, batches)
    found = front_gradients([functions[:3], functions[3:]], values)
    rows = [
        flatten(torch.autograd.grad(loss, values, retain_graph=True, materialize_grads=True))
        for batch in batches
        for loss in losses_of(network, batch)
    ]
    each = torch.stack(rows).view(5, 2, -1)
    halves = each[:3].mean(dim=0), each[3:].mean(dim=0)
    torch.testing.assert_close(found.jacobian, each.mean(dim=0))
    torch.testing.assert_close(found.halves, halves)
    between = halves[0] @ halves[1].T
    sizes, vectors = torch.linalg.eigh(0.5 * (between + between.T))
    expected = vectors * sizes.clamp(min=0) @ vectors.T
    torch.testing.assert_close(torch.as_tensor(found.gramian), expected, rtol=1e-9, atol=1e-12)
    assert [len(losses) for losses in found.losses] == [3, 2]
    assert found.mean_losses == pytest.approx(np.concatenate(found.losses).mean(axis=0))


def test_pure_noise_leaves_no_gramian():
    """The mean's own square would: it is the noise's."""
    parameter = torch.zeros(50, requires_grad=True)
    noise = torch.randn(40, 2, 50, generator=torch.Generator().manual_seed(0))
    batches = [lambda rows=rows: list(rows @ parameter) for rows in noise]
    found = front_gradients([batches[:20], batches[20:]], [parameter])
    assert abs(found.gramian).max() < 0.8 * 50 / 40
    assert (found.jacobian @ found.jacobian.T).diagonal().min() > 0.6 * 50 / 40


def test_two_parts_of_one_pass_would_deny_what_two_passes_confirm():
    """Samples whose gradients differ, at the optimum of one of two tasks: the main one has a mean of zero."""
    parameter = torch.zeros(4, requires_grad=True)
    rng = torch.Generator().manual_seed(0)
    samples = torch.randn(2, 16, 4, generator=rng)
    samples[0] -= samples[0].mean(dim=0)

    def batch(chosen):
        return lambda: list(samples[:, chosen].mean(dim=1) @ parameter)

    order = [torch.randperm(16, generator=rng) for _ in range(400)]
    parts = [front_gradients([[batch(o[:8])], [batch(o[8:])]], [parameter]) for o in order[:200]]
    passes = [
        front_gradients([[batch(one[:8])], [batch(two[:8])]], [parameter])
        for one, two in zip(order[:200], order[200:], strict=True)
    ]
    sides = [
        np.mean([float(found.halves[0][0] @ found.halves[1][0]) for found in drawn])
        for drawn in (parts, passes)
    ]
    assert sides[0] < -0.1
    assert abs(sides[1]) < 0.05


@pytest.mark.parametrize("sizes", [[], [1], [1, 0], [1, 1, 1]])
def test_two_sets_of_batches_are_needed(sizes):
    parameter = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"`halves` must be two sets of batches .* got \["):
        front_gradients([[lambda: [parameter.sum()] * 2] * size for size in sizes], [parameter])


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


def test_a_function_that_may_be_differentiated_once_is_refused_and_not_passed_over():
    parameter = torch.ones(2, requires_grad=True)

    def losses():
        return [Once.apply(parameter).square().sum(), parameter.square().sum()]

    with pytest.raises(RuntimeError, match="`once_differentiable`, which has no second derivative"):
        WeightedHessian([losses], [parameter], [0.5, 0.5])(torch.ones(2))
