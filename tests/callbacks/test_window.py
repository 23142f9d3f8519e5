"""Laws of a decision per accumulation window: one large batch, whatever the window's length."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from by_hand import Smooth
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.plugins import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset
from trunked import Trunked
from two_tasks import largest_difference, trainer

from psst.callbacks import PSSTCallback
from psst.pareto import FixedWeights

ROUNDING = 2e-6  # float32: the same sums in another order
DATA = torch.randn(48, 6, generator=torch.Generator().manual_seed(3))


def fit(module, *callbacks, batch_size=8, ckpt_path=None, **settings):
    run = trainer(**settings)
    run.callbacks.extend(callbacks)
    run.fit(module, DataLoader(TensorDataset(DATA), batch_size), ckpt_path=ckpt_path)
    return module


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.02}], ids=str)
def test_a_window_equals_one_large_batch(settings, functions):
    """Parameters, and what the method saw and decided, step by step."""
    large, small = Smooth(), Smooth()
    expected = fit(Trunked(), PSSTCallback(large), batch_size=24, max_epochs=3, **settings)
    ours = fit(
        Trunked(functions=functions),
        PSSTCallback(small, accumulate="window"),
        accumulate_grad_batches=3,
        max_epochs=3,
        **settings,
    )
    assert largest_difference(expected, ours) < ROUNDING
    assert largest_difference(expected, Trunked()) > 1e-2
    assert len(small.states) == 6
    for one, other in zip(large.states, small.states, strict=True):
        assert np.allclose(one.gramian, other.gramian, rtol=1e-4)
        assert np.allclose(one.log_losses, other.log_losses, rtol=1e-5)
    assert np.ptp(small.decided, axis=0).min() > 1e-4


@pytest.mark.parametrize("scheduled", [False, True])
def test_with_weights_that_stay_a_window_is_what_lightning_accumulates(scheduled):
    """Also where the epoch cuts the last window short: Lightning divides by the full length all the same."""

    def callbacks(accumulate):
        psst = PSSTCallback(FixedWeights(0.5), accumulate=accumulate)
        return [psst, *([GradientAccumulationScheduler({0: 4, 1: 1, 2: 2})] if scheduled else [])]

    settings = {"max_epochs": 3} if scheduled else {"max_epochs": 3, "accumulate_grad_batches": 4}
    expected = fit(Trunked(), *callbacks("micro_batch"), **settings)
    ours = fit(Trunked(), *callbacks("window"), **settings)
    assert largest_difference(expected, ours) < ROUNDING


def test_windows_follow_a_scheduler_and_the_end_of_the_epoch():
    method = Smooth()
    psst = PSSTCallback(method, accumulate="window")
    fit(Trunked(), psst, GradientAccumulationScheduler({0: 4, 1: 1, 2: 2}), max_epochs=3)
    assert len(method.states) == 2 + 6 + 3
    assert len(psst.trajectory.log_losses) == 2 + 6 + 3
    means = [DATA[:32], DATA[32:]]
    module = Trunked()
    for state, data in zip(method.states[:1], means, strict=False):
        expected = [float(module.loss(module.features(data), name)) for name in module.names]
        assert np.allclose(state.losses, expected, rtol=1e-5)


def test_limited_batches_close_the_last_window():
    method = Smooth()
    settings = {"accumulate_grad_batches": 4, "limit_train_batches": 5, "max_epochs": 2}
    fit(Trunked(), PSSTCallback(method, accumulate="window"), **settings)
    assert len(method.states) == 4


@pytest.mark.parametrize("skipped", [1, 2])
def test_a_batch_without_losses_leaves_the_window_whole(skipped):
    """The first of the window's last two batches, or the one that closes it."""

    class Skips(Trunked):
        def training_step(self, batch, batch_idx):
            return None if batch_idx % 3 == skipped else super().training_step(batch, batch_idx)

    method = Smooth()
    module = fit(Skips(), PSSTCallback(method, accumulate="window"), accumulate_grad_batches=3)
    expected = fit(Skips(), PSSTCallback(FixedWeights(0.5)), accumulate_grad_batches=3)
    assert len(method.states) == 2
    assert all(not torch.equal(a, b) for a, b in zip(module.parameters(), Skips().parameters(), strict=True))
    same = fit(Skips(), PSSTCallback(FixedWeights(0.5), accumulate="window"), accumulate_grad_batches=3)
    if skipped == 1:  # Lightning itself takes no step where the last batch gives nothing
        assert largest_difference(expected, same) < ROUNDING


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path):
    def callback():
        return PSSTCallback(tradeoff=0.2, accumulate="window")

    settings = {"accumulate_grad_batches": 4}
    whole = fit(Trunked(), callback(), max_epochs=4, **settings)
    run = trainer(callback(), max_epochs=2, **settings)
    run.fit(Trunked(), DataLoader(TensorDataset(DATA), 8))
    run.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(Trunked(), callback(), ckpt_path=tmp_path / "half.ckpt", max_epochs=4, **settings)
    assert largest_difference(whole, resumed) == 0.0


def test_float16_is_near_float32():
    settings = {"accumulate_grad_batches": 3, "max_epochs": 2}
    full = fit(Trunked(), PSSTCallback(FixedWeights(1.0), accumulate="window"), **settings)
    plugin = MixedPrecision(
        "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
    )  # no step is lost
    half = fit(Trunked(), PSSTCallback(FixedWeights(1.0), accumulate="window"), plugins=[plugin], **settings)
    assert largest_difference(full, half) < 0.05 * largest_difference(Trunked(), full)


def test_nothing_reaches_the_parameters_before_the_window_closes():
    class Spy(pl.Callback):
        seen = ()

        def on_after_backward(self, trainer, pl_module):
            self.seen = (*self.seen, pl_module.trunk[0][0].weight.grad is not None)

    spy = Spy()
    fit(Trunked(), PSSTCallback(FixedWeights(1.0), accumulate="window"), spy, accumulate_grad_batches=3)
    assert spy.seen == (False, False, True) * 2


def test_an_optimizer_that_repeats_a_step_is_refused():
    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            closure()
            return super().step(closure)

    class Module(Trunked):
        def configure_optimizers(self):
            return Twice(self.parameters(), lr=0.1)

    with pytest.raises(RuntimeError, match=r"same batch twice.*`accumulate='micro_batch'`"):
        fit(Module(), PSSTCallback(FixedWeights(1.0), accumulate="window"), accumulate_grad_batches=1)
