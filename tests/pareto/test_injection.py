"""Laws of task gradients, their Gramian and the root that injects a mixture."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from psst.pareto.injection import combine as combined
from psst.pareto.injection import inject, shared_positions
from psst.pareto.products import gramian
from psst.pareto.scopes import Scope


def task_gradients(losses, parameters):
    return gathered({str(task): loss for task, loss in enumerate(losses)}, parameters)[1]


def gathered(losses, parameters):
    found = Scope(list(losses), {str(p): each for p, each in enumerate(parameters)}).gather(losses)
    return list(found.values.values()), found.gradients


def network(n_tasks=2, dtype=torch.float32):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.Tanh())
    heads = nn.ModuleList(nn.Linear(4, 3) for _ in range(n_tasks))
    return trunk.to(dtype), heads.to(dtype)


def losses_of(trunk, heads, separate):
    rng = torch.Generator().manual_seed(1)
    inputs = [torch.randn(6, 5, generator=rng, dtype=next(trunk.parameters()).dtype) for _ in heads]
    features = [trunk(x) for x in inputs] if separate else [trunk(inputs[0])] * len(heads)
    return [head(f).square().mean() for head, f in zip(heads, features, strict=True)]


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("n_tasks", [2, 3])
def test_task_gradients_are_those_of_each_loss_alone(n_tasks, separate):
    trunk, heads = network(n_tasks)
    parameters = [*trunk.parameters(), *heads.parameters()]
    expected = [
        torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
        for loss in losses_of(trunk, heads, separate)
    ]
    gradients = task_gradients(losses_of(trunk, heads, separate), parameters)
    for gradient, row in zip(gradients, expected, strict=True):
        assert gradient.keys() == {p for p, value in enumerate(row) if value is not None}
        assert all(torch.equal(gradient[p], row[p]) for p in gradient)
    assert shared_positions(gradients) == set(range(4))


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("index", [0, 1])
def test_every_graph_is_freed_by_the_end(index, separate):
    trunk, heads = network()
    losses = losses_of(trunk, heads, separate)
    task_gradients(losses, [*trunk.parameters(), *heads.parameters()])
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(losses[index], trunk[0].weight)


def test_separate_graphs_are_freed_one_by_one():
    """A hook on the second graph finds the first one gone: the peak is one task's activations."""
    trunk, heads = network()
    losses = losses_of(trunk, heads, separate=True)
    freed = []

    def try_first(_):
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(losses[0], trunk[0].weight)
        freed.append(True)

    second = heads[1](trunk(torch.randn(3, 5)))
    second.register_hook(try_first)
    task_gradients([losses[0], second.mean()], list(trunk.parameters()))
    assert freed == [True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_gramian_is_jacobian_times_its_transpose(scale, dtype):
    trunk, heads = network(3, dtype)
    parameters = [*trunk.parameters(), *heads.parameters()]
    losses = [scale * loss for loss in losses_of(trunk, heads, separate=True)]
    gradients = task_gradients(losses, parameters)
    jacobian = torch.stack([torch.cat([g[p].flatten() for p in range(4)]) for g in gradients]).double()
    expected = jacobian @ jacobian.T
    error = (gramian(gradients, range(4)).double() - expected).abs().max() / expected.trace()
    assert error < (1e-6 if dtype == torch.float32 else 1e-14)


def test_a_constant_loss_reaches_nothing_and_its_row_is_zero():
    trunk, heads = network()
    losses = [losses_of(trunk, heads, separate=True)[0], torch.tensor(1.5)]
    gradients = task_gradients(losses, list(trunk.parameters()))
    assert gradients[1] == {}
    matrix = gramian(gradients, range(4))
    assert matrix[0, 0] > 0
    assert not matrix[1].any()


def combine(gradients, reached, weights):
    return combined(gradients, reached, weights, shared_positions(reached))


def test_weights_act_on_shared_parameters_only():
    gradients = [{0: torch.tensor([1.0, 2.0]), 1: torch.tensor([3.0])}, {0: torch.tensor([10.0, -2.0])}]
    mixture = combine(gradients, [{0, 1}, {0}], [0.25, 0.75])
    assert mixture[0].tolist() == [7.75, -1.0]
    assert mixture[1].tolist() == [3.0]


def test_all_weight_on_one_task_gives_its_gradient_bit_for_bit_even_beside_nan():
    gradients = [{0: torch.randn(100)}, {0: torch.full((100,), torch.nan)}]
    assert torch.equal(combine(gradients, [{0}, {0}], [1.0, 0.0])[0], gradients[0][0])


def test_a_task_without_weight_stays_off_shared_parameters_where_it_comes_alone():
    """The main task is missing from this batch: its weight of 1 must not turn into one of the other task."""
    assert combine([{}, {0: torch.ones(2)}], [{0}, {0}], [1.0, 0.0]) == {}


def test_parameters_that_only_weightless_tasks_share_get_the_plain_sum():
    gradients = [{0: torch.ones(1)}, {0: torch.ones(1), 1: torch.ones(1)}, {1: torch.ones(1)}]
    mixture = combine(gradients, [{0}, {0, 1}, {1}], [1.0, 0.0, 0.0])
    assert mixture[0].item() == 1.0
    assert mixture[1].item() == 2.0


def test_combination_leaves_the_task_gradients_alone():
    one = torch.ones(3)
    gradients = [{0: one, 1: one}, {0: one, 1: one}]  # autograd may give the same tensor twice
    mixture = combine(gradients, [{0, 1}, {0, 1}], [0.5, 0.25])
    assert one.tolist() == [1.0, 1.0, 1.0]
    assert mixture[0].tolist() == mixture[1].tolist() == [0.75, 0.75, 0.75]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_injected_gradients_arrive_times_the_outer_factor(dtype):
    parameters = [nn.Parameter(torch.zeros(3, dtype=dtype)) for _ in range(3)]
    gradients = {0: torch.ones(3, dtype=dtype), 2: torch.arange(3, dtype=dtype)}
    root = inject(torch.tensor(4.5), parameters, gradients)
    assert root.item() == 4.5
    (root / 2).backward()
    assert parameters[0].grad.tolist() == [0.5, 0.5, 0.5]
    assert parameters[1].grad is None
    assert parameters[2].grad.tolist() == [0.0, 0.5, 1.0]


def test_reentrant_checkpointing_is_refused_and_the_other_kind_works():
    trunk, heads = network()
    inputs = torch.randn(6, 5, requires_grad=True)
    parameters = list(trunk.parameters())
    loss = heads[0](checkpoint(trunk, inputs, use_reentrant=True)).mean()
    with pytest.raises(ValueError, match="use_reentrant=False"):
        task_gradients([loss], parameters)
    loss = heads[0](checkpoint(trunk, inputs, use_reentrant=False)).mean()
    assert task_gradients([loss], parameters)[0].keys() == set(range(4))


def test_autocast_does_not_tie_separate_graphs_together():
    """Its casts of the weights are common to all forwards, but hold nothing: the first graph goes at once."""
    trunk, heads = network()
    freed = []

    def try_first(_):
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(first, trunk[0].weight)
        freed.append(True)

    with torch.autocast("cpu", torch.bfloat16):
        first = heads[0](trunk(torch.randn(3, 5))).square().mean()
        features = heads[1](trunk(torch.randn(3, 5)))
        second = features.square().mean()
    features.register_hook(try_first)
    gradients = task_gradients([first, second], list(trunk.parameters()))
    assert freed == [True]
    assert all(gradient.keys() == set(range(4)) for gradient in gradients)


def test_nothing_injected_is_a_root_that_reaches_no_parameter():
    root = inject(torch.tensor(4.5), [], {})
    assert root.item() == 4.5
    (root / 2).backward()


def test_functions_give_the_same_gradients_and_are_called_one_by_one():
    trunk, heads = network(3)
    parameters = [*trunk.parameters(), *heads.parameters()]
    expected = task_gradients(losses_of(trunk, heads, separate=True), parameters)
    alive = []

    def function(index):
        loss = losses_of(trunk, heads, separate=True)[index]
        for earlier in alive:
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(earlier, trunk[0].weight)
        alive.append(loss)
        return loss

    lazy = {
        "a": lambda: function(0),
        "b": losses_of(trunk, heads, separate=True)[1],
        "c": lambda: function(2),
    }
    values, gradients = gathered(lazy, parameters)
    assert len(alive) == 2
    for value, loss in zip(values, losses_of(trunk, heads, separate=True), strict=True):
        assert not value.requires_grad
        assert torch.equal(value, loss.detach())
    for found, row in zip(gradients, expected, strict=True):
        assert all(torch.equal(found[p], row[p]) for p in row)


def test_a_function_on_a_freed_graph_is_named():
    trunk, heads = network()
    features = trunk(torch.randn(3, 5))
    lazy = {"main": lambda: heads[0](features).square().mean(), "other": lambda: heads[1](features).mean()}
    with pytest.raises(ValueError, match=r"`losses\['other'\]`.*freed before.*inside each function"):
        gathered(lazy, list(trunk.parameters()))


def test_other_errors_of_a_function_pass_through():
    trunk, _ = network()

    def broken():
        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.sum()

            @staticmethod
            def backward(ctx, _):
                raise RuntimeError("my own")

        return Broken.apply(trunk[0].weight)

    with pytest.raises(RuntimeError, match="my own"):
        gathered({"a": broken}, list(trunk.parameters()))


def test_hooks_wait_for_the_accumulated_gradient_and_are_back_after_an_error():
    trunk, heads = network()
    calls = []
    trunk[0].weight.register_hook(calls.append)
    task_gradients(losses_of(trunk, heads, separate=True), list(trunk.parameters()))
    loss = losses_of(trunk, heads, separate=True)[0]
    loss.backward(retain_graph=True)
    assert len(calls) == 1
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        task_gradients([loss], list(trunk.parameters()))
    losses_of(trunk, heads, separate=True)[0].backward()
    assert len(calls) == 3
