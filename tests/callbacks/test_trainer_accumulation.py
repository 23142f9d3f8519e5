"""Accumulation and clipping by the Trainer, under PSSTCallback, equal the loop written by hand."""

import pytest
import torch
from by_hand import HandLoop, Smooth, assert_parity, assert_same_run, fit
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from two_tasks import TwoTasks, largest_difference, loader

from psst.callbacks import PSSTCallback

CLIPS = {
    "norm": lambda parameters: clip_grad_norm_(parameters, 0.3),
    "value": lambda parameters: clip_grad_value_(parameters, 0.02),
    None: lambda parameters: None,
}
CLIP_SETTINGS = {
    "norm": {"gradient_clip_val": 0.3},
    "value": {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"},
    None: {},
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("shared_forward", [False, True])
def test_accumulation_and_clipping(shared_forward, accumulate, clip):
    """Six batches: windows of four leave a short last one, whose sum is divided by four as everywhere."""
    assert_parity(
        lambda: TwoTasks(shared_forward=shared_forward),
        by_hand={"accumulate": accumulate, "clip": CLIPS[clip]},
        accumulate_grad_batches=accumulate,
        **CLIP_SETTINGS[clip],
    )


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("shared_forward", [False, True])
def test_one_decision_a_window(shared_forward, accumulate, clip):
    """On the window's gradients; the short last one decides on the batches it has."""
    run, _ = assert_parity(
        lambda: TwoTasks(shared_forward=shared_forward),
        by_hand={"accumulate": accumulate, "clip": CLIPS[clip], "window": True},
        psst={"accumulate": "window"},
        accumulate_grad_batches=accumulate,
        **CLIP_SETTINGS[clip],
    )
    assert run.global_step == 2 * -(-6 // accumulate)


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_takes_hold(clip):
    """Else the parity above would say nothing."""
    free, clipped = TwoTasks(), TwoTasks()
    fit(free, PSSTCallback(Smooth()))
    fit(clipped, PSSTCallback(Smooth()), **CLIP_SETTINGS[clip])
    assert largest_difference(free, clipped) > 1e-2


def test_accumulation_that_changes_with_the_epoch():
    """One loop by hand an epoch, the optimizer without momentum so that it has no state to hand over."""

    class Plain(TwoTasks):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loop, expected = HandLoop(Smooth()), Plain()
    for accumulate in (1, 3):
        loop.accumulate = accumulate
        loop.fit(expected, list(loader()))
    ours, method = Plain(), Smooth()
    fit(ours, PSSTCallback(method), GradientAccumulationScheduler({0: 1, 1: 3}), max_epochs=2)
    assert_same_run(method, loop.method)
    assert largest_difference(expected, ours) < 5e-6
