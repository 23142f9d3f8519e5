"""Lightning's averages of weights beside PSSTCallback, in either order, equal those of the loop by hand."""

import copy

import pytest
import torch
from by_hand import ROUNDING, HandLoop, Smooth, assert_same_run, fit
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from torch import nn
from two_tasks import TwoTasks, largest_difference, loader

from psst.callbacks import PSSTCallback
from psst.pareto import FixedWeights

N_EPOCHS, N_BATCHES = 4, 6
ORDERS = pytest.mark.parametrize("ours_first", [True, False])


class LayerNormed(TwoTasks):
    """No running statistics, of which an average would be another question."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def features(self, x, name):
        return self.outer(self.norm(self.inner(x)).relu())


class Constant(LayerNormed):
    """SWA sets a learning rate, here the one there is already."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithBatchNorm(TwoTasks):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithHalfGradient(WithBatchNorm):
    """Two equal weights on the trunk, written into the forward pass: the same value, half the gradient."""

    def features(self, x, name):
        features = super().features(x, name)
        return 0.5 * features + 0.5 * features.detach()


def by_hand(make, accumulate=1):
    """The loop by hand, its module and what the parameters were after each update."""
    snapshots = []
    loop = HandLoop(
        Smooth(),
        accumulate=accumulate,
        after_update=lambda m: snapshots.append(copy.deepcopy(m.state_dict())),
    )
    return loop, loop.fit(make(), list(loader(N_BATCHES)), N_EPOCHS), snapshots


def with_average(make, average, ours_first, **settings):
    module, method = make(), Smooth()
    callbacks = [PSSTCallback(method), average]
    fit(module, *(callbacks if ours_first else callbacks[::-1]), max_epochs=N_EPOCHS, **settings)
    return module, method


def mean(states):
    return {name: torch.stack([state[name].float() for state in states]).mean(dim=0) for name in states[0]}


def difference(state, module):
    return max(float((value - state[name]).abs().max()) for name, value in module.state_dict().items())


@ORDERS
@pytest.mark.parametrize("accumulate", [1, 2])
def test_weight_averaging(accumulate, ours_first):
    """The mean of the parameters after every update."""
    loop, _, snapshots = by_hand(LayerNormed, accumulate)
    module, method = with_average(
        LayerNormed, WeightAveraging(), ours_first, accumulate_grad_batches=accumulate
    )
    assert_same_run(method, loop.method)
    assert difference(mean(snapshots), module) < ROUNDING


@ORDERS
def test_ema_weight_averaging(ours_first):
    """0.8 of the average so far and 0.2 of the new parameters; the first are taken as they are."""
    loop, _, snapshots = by_hand(LayerNormed)
    average = snapshots[0]
    for state in snapshots[1:]:
        average = {name: 0.8 * average[name] + 0.2 * value for name, value in state.items()}
    module, method = with_average(LayerNormed, EMAWeightAveraging(decay=0.8), ours_first)
    assert_same_run(method, loop.method)
    assert difference(average, module) < ROUNDING


@ORDERS
def test_stochastic_weight_averaging(ours_first):
    """The mean of the parameters at the starts of the epochs from the second on."""
    loop, _, snapshots = by_hand(Constant)
    swa = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2, annealing_epochs=1)
    module, method = with_average(Constant, swa, ours_first)
    assert_same_run(method, loop.method)
    assert difference(mean(snapshots[N_BATCHES - 1 : -1 : N_BATCHES]), module) < ROUNDING


@ORDERS
def test_stochastic_weight_averaging_with_its_pass_for_batch_norm(ours_first):
    """SWA adds an epoch that only forwards, for the running statistics of the averaged parameters.

    Lightning ends it with one more update, by the gradients still there: hence no loop by hand.
    """

    def average():
        return StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2, annealing_epochs=1)

    expected, module = WithHalfGradient(), WithBatchNorm()
    fit(expected, average(), max_epochs=N_EPOCHS)
    callbacks = [PSSTCallback(FixedWeights(1.0)), average()]
    fit(module, *(callbacks if ours_first else callbacks[::-1]), max_epochs=N_EPOCHS)
    assert largest_difference(expected, module) < ROUNDING
    assert int(module.norm.num_batches_tracked) == N_BATCHES
    assert "training_step" not in module.__dict__
