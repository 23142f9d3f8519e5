"""Losses as functions: the same training with the memory of one task at a time."""

import pytest
import torch
from by_hand import Smooth
from torch import nn
from torch.nn import functional as F
from trunked import Trunked
from two_tasks import TwoTasks, largest_difference, loader, trainer

from psst.callbacks import PSSTCallback
from psst.callbacks.wrapping import read_losses
from psst.pareto import FixedWeights


def fit(module, callback, n_batches=6, **settings):
    run = trainer(callback, **settings)
    run.fit(module, loader(n_batches))
    return module


class Lazy(TwoTasks):
    """The losses of `TwoTasks`, each with its forward inside a function; no ``loss``."""

    def training_step(self, batch, batch_idx):
        (x,) = batch

        def of(shift, name):
            return lambda: self.loss(self.features(x.roll(shift, dims=1), name), name)

        return {"losses": {name: of(shift, name) for shift, name in enumerate(self.names)}}


@pytest.mark.parametrize(
    "settings", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}], ids=str
)
def test_functions_train_as_tensors_do_bit_for_bit(settings):
    names = ("a", "main", "b")
    first, second = Smooth(), Smooth()
    expected = fit(TwoTasks(names=names), PSSTCallback(first), **settings)
    ours = fit(Lazy(names=names), PSSTCallback(second), **settings)
    state = ours.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in expected.state_dict().items())


class Peak:
    """Largest number of bytes that graphs have held on to at the same time, exactly."""

    def __init__(self):
        self.held = self.peak = 0

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x: Held(x, self), lambda held: held.tensor
        )
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


class Held:
    def __init__(self, tensor, peak):
        self.tensor, self.peak, self.size = tensor, peak, tensor.numel() * tensor.element_size()
        peak.held += self.size
        peak.peak = max(peak.peak, peak.held)

    def __del__(self):
        self.peak.held -= self.size


class Plain(TwoTasks):
    """One backward of the sum: what the peak is compared with."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)["loss"]


def peak_of(module, callback=None):
    with Peak() as peak:
        fit(module, callback, n_batches=2)
    return peak.peak


def test_the_peak_is_that_of_one_task():
    """Three tasks of the same cost: a third of the activations of a joint backward, rounding up."""
    names = ("main", "a", "b")
    joint = peak_of(Plain(names=names))
    assert peak_of(TwoTasks(names=names), PSSTCallback(FixedWeights(1.0))) <= joint
    assert peak_of(Lazy(names=names), PSSTCallback(FixedWeights(1.0))) < 0.4 * joint


def test_a_part_shared_by_two_functions_is_refused_with_the_way_out():
    class Common(Trunked):
        def training_step(self, batch, batch_idx):
            features = self.features(batch[0])
            return {"losses": {name: lambda name=name: self.loss(features, name) for name in self.names}}

    with pytest.raises(ValueError, match=r"`losses\['other'\]` is a function.*inside each function"):
        fit(Common(), PSSTCallback(FixedWeights(1.0)))


@pytest.mark.parametrize("give", [lambda: torch.ones(2), lambda: 3.0])
def test_what_a_function_gives_is_checked(give):
    class Wrong(Lazy):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            output["losses"]["other"] = give
            return output

    with pytest.raises(TypeError, match=r"`losses\['other'\]` of `training_step` of Wrong must be a scalar"):
        fit(Wrong(), PSSTCallback(FixedWeights(1.0)))


def test_tensors_and_functions_may_be_mixed():
    class Mixed(Lazy):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            output["losses"]["main"] = output["losses"]["main"]()
            return output

    expected = fit(TwoTasks(), PSSTCallback(Smooth()))
    assert largest_difference(expected, fit(Mixed(), PSSTCallback(Smooth()))) == 0.0


def test_reading_losses_calls_the_functions():
    module = Lazy()
    losses = read_losses(module.training_step(next(iter(loader())), 0), module)
    assert list(losses) == ["main", "other"]
    assert all(loss.requires_grad for loss in losses.values())


def test_dropout_and_buffers_inside_a_function():
    """Random numbers are drawn once and BatchNorm counts each batch once: no forward runs twice."""

    class Noisy(Lazy):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def features(self, x, name):
            self.calls += 1
            return F.dropout(super().features(x, name), 0.5)

    module = fit(Noisy(), PSSTCallback(FixedWeights(1.0)))
    assert module.calls == 12
    assert int(module.norm.num_batches_tracked) == 6
    assert isinstance(module.norm, nn.BatchNorm1d)
