"""Laws of the scopes: one mixture for all of them, each with its own Gramian, cost and refusals."""

import logging

import numpy as np
import pytest
import torch
from by_hand import Smooth
from pytorch_lightning.plugins import MixedPrecision
from trunked import Trunked
from two_tasks import TwoTasks, largest_difference, loader, trainer

from psst.balancers import TorchJD
from psst.callbacks import PSSTCallback
from psst.pareto import FixedWeights, Tradeoff
from psst.pareto.scopes import _last_block

SCOPES = ["parameters", "last_block"]
ROUNDING = 2e-6  # float32, 6 steps


class Measured(FixedWeights):
    """The same weights by way of the task gradients."""

    needs_gramian = True


def fit(module, callback=None, n_batches=6, **settings):
    run = trainer(callback, **settings)
    run.fit(module, loader(n_batches))
    return module


class WeightedTrunk(Trunked):
    """Weights on the trunk and none on the heads, in one backward pass of one loss."""

    share = (1 / 1.6, 0.6 / 1.6)

    def training_step(self, batch, batch_idx):
        features = self.features(batch[0])
        total = 0.0
        for name, weight in zip(self.names, self.share, strict=True):
            at_features = weight * features + (1 - weight) * features.detach()
            total = total + self.loss(at_features, name)
        return total


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_gives_the_trunk_the_weighted_gradient_and_heads_their_own(scope):
    expected = fit(WeightedTrunk())
    ours = fit(Trunked(), PSSTCallback(Measured(0.6), scope=scope))
    assert largest_difference(expected, ours) < ROUNDING
    assert largest_difference(expected, Trunked()) > 1e-2


@pytest.mark.parametrize("scope", SCOPES)
def test_all_weight_on_main_is_plain_training_bit_for_bit(scope):
    class MainOnly(Trunked):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)["losses"]["main"]

    plain = fit(MainOnly(names=("main",)))
    ours = fit(Trunked(), PSSTCallback(Measured(0.0), scope=scope)).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("scope", SCOPES)
def test_the_gramian_is_that_of_the_scope(scope):
    method, module = Smooth(), Trunked(names=("main", "a", "b"))
    fit(module, PSSTCallback(method, scope=scope), n_batches=1)
    module = Trunked(names=("main", "a", "b"))
    features = module.features(next(iter(loader()))[0])
    inputs = {
        "parameters": list(module.trunk.parameters()),
        "last_block": list(module.trunk[-1].parameters()),
    }[scope]
    rows = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(module.loss(features, n), inputs, retain_graph=True)]
        )
        for n in module.names
    ]
    jacobian = torch.stack(rows).double().numpy()
    found = method.states[0].gramian
    assert np.allclose(found, jacobian @ jacobian.T, rtol=1e-5, atol=1e-6 * found.trace())


@pytest.mark.parametrize(("scope", "first", "last"), [("parameters", 3, 3), ("last_block", 1, 4)])
def test_a_step_passes_the_trunk_as_often_as_it_says(scope, first, last):
    module = fit(Trunked(names=("main", "a", "b")), PSSTCallback("min_norm", scope=scope), n_batches=1)
    assert (module.passes[0], module.passes[2]) == (first, last)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("method", [FixedWeights([0.5, 0.0]), Tradeoff(0.3), TorchJD("UW"), TorchJD("Mean")])
def test_without_a_gramian_the_trunk_is_passed_once(scope, method):
    module = fit(Trunked(names=("main", "a", "b")), PSSTCallback(method, scope=scope), n_batches=1)
    assert (module.passes[0], module.passes[2]) == (1, 1)


@pytest.mark.parametrize("shared", [None, ["trunk"], ["trunk.0", "trunk.1"]])
@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.5, 0.0], [1e-5, 2.0], [0.3, 3.0]])
@pytest.mark.parametrize("functions", [False, True])
def test_one_weighted_pass_gives_what_task_gradients_give(weights, functions, shared):
    def module():
        return Trunked(names=("main", "a", "b"), functions=functions)

    exact = fit(module(), PSSTCallback(Measured(weights), shared=shared))
    ours = fit(module(), PSSTCallback(FixedWeights(weights), shared=shared))
    assert largest_difference(exact, ours) < 1e-6
    assert largest_difference(module(), ours) > 1e-2


@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.5, 0.0], [0.5, 2.0]])
def test_last_block_equals_parameters_where_tasks_leave_the_trunk_at_different_depths(weights):
    """Without weight on the two tasks that come deepest, what only they share gets their plain sum."""

    class Early(Trunked):
        def __init__(self):
            super().__init__(names=("main", "a", "b"))
            self.side = torch.nn.Linear(8, 5)

        def training_step(self, batch, batch_idx):
            shallow = self.trunk[:1](batch[0])
            deep = self.trunk[1:](shallow)
            losses = {"main": self.loss(self.side(shallow), "main")}
            losses |= {name: self.loss(deep, name) for name in ("a", "b")}
            return {"loss": sum(losses.values()), "losses": losses}

    exact = fit(Early(), PSSTCallback(Measured(weights), scope="parameters"))
    ours = fit(Early(), PSSTCallback(Measured(weights), scope="last_block"))
    assert largest_difference(exact, ours) < ROUNDING


def test_float16_is_near_float32():
    """Scaled losses: gradients of about 1e-8, of which half precision alone would keep nothing."""

    class Tiny(Trunked):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            losses = {name: 1e-7 * loss for name, loss in output["losses"].items()}
            return {"loss": sum(losses.values()), "losses": losses}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e6)

    full = fit(Tiny(), PSSTCallback(Measured(1.0), scope="last_block"))
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    half = fit(Tiny(), PSSTCallback(Measured(1.0), scope="last_block"), plugins=[plugin])
    moved = largest_difference(Tiny(), full)
    assert moved > 1e-2
    assert largest_difference(full, half) < 0.05 * moved


def test_the_last_block_is_named_once(caplog):
    with caplog.at_level(logging.INFO):
        fit(Trunked(), PSSTCallback(Measured(1.0), scope="last_block"))
    assert [r.getMessage() for r in caplog.records if "trunk.2" in r.getMessage()] != []
    assert sum("trunk.2" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(
    ("names", "shared", "expected"),
    [
        (["a.0.w", "a.0.b", "a.1.w", "h.w"], [0, 1, 2], ("a.1", {2})),
        (["a.0.w", "a.0.b", "a.1.w", "h.w"], [0, 1], ("a.0", {0, 1})),
        (["net.a.0.w", "net.b.w", "net.b.n.w"], [0, 1, 2], ("net.b", {1, 2})),
        (["net.scale", "net.a.w"], [0, 1], ("net.a", {1})),
        (["a.w", "b.w"], [0, 1], ("b", {1})),
        (["w", "b"], [0, 1], ("", {0, 1})),
        (["w"], [], ("", set())),
    ],
)
def test_the_last_block_by_names(names, shared, expected):
    assert _last_block(names, shared) == expected


def test_functions_and_the_last_block_exclude_each_other():
    with pytest.raises(TypeError, match=r"`scope='last_block'`.*`losses\['main'\]` is a function"):
        fit(Trunked(functions=True), PSSTCallback(Measured(1.0), scope="last_block"))


@pytest.mark.parametrize("scope", ["parameters", "last_block"])
def test_shared_parameters_by_name(scope):
    """With the last block left out of them, each task gives it its own gradient."""
    whole, part = Smooth(), Smooth()
    fit(Trunked(), PSSTCallback(whole, scope=scope, shared=["trunk"]), n_batches=1)
    fit(Trunked(), PSSTCallback(part, scope=scope, shared=["trunk.0", "trunk.1.0.weight"]), n_batches=1)
    found = Smooth()
    fit(Trunked(), PSSTCallback(found, scope=scope), n_batches=1)
    assert np.array_equal(whole.states[0].gramian, found.states[0].gramian)
    module = Trunked()
    features = module.features(next(iter(loader()))[0])
    inputs = [*module.trunk[0].parameters(), module.trunk[1][0].weight]
    if scope == "last_block":
        inputs = inputs[-1:]
    rows = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(module.loss(features, n), inputs, retain_graph=True)]
        )
        for n in module.names
    ]
    gramian = torch.stack(rows) @ torch.stack(rows).T
    assert np.allclose(part.states[0].gramian, gramian.numpy(), rtol=1e-4)


def test_a_named_parameter_that_is_not_shared_after_all_is_weighted():
    heavy, light = Trunked(), Trunked()
    fit(heavy, PSSTCallback(FixedWeights(1.0), shared=["trunk", "heads"]), n_batches=1)
    fit(light, PSSTCallback(FixedWeights(1.0)), n_batches=1)
    start = Trunked().heads["other"].weight
    assert torch.allclose(2 * (heavy.heads["other"].weight - start), light.heads["other"].weight - start)


def test_unknown_names_are_refused_before_the_first_batch_with_the_nearest():
    class Late(TwoTasks):
        def training_step(self, batch, batch_idx):
            raise AssertionError("too late")

    with pytest.raises(ValueError, match=r"`shared` names 'iner'.*'inner'"):
        fit(Late(), PSSTCallback(FixedWeights(1.0), shared=["outer", "iner"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "trunk"}, r"`scope='trunk'` must be one of.*'last_block'"),
        ({"accumulate": "batch"}, r"`accumulate='batch'` must be one of"),
        ({"shared": "backbone"}, r"`shared='backbone'` must be a list"),
        ({"shared": []}, r"`shared=\[\]` must be a list"),
        (
            {"scope": "last_block", "accumulate": "window"},
            r"`accumulate='window'`.*`scope='last_block'`.*use",
        ),
    ],
)
def test_arguments_are_checked_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        PSSTCallback(FixedWeights(1.0), **arguments)
