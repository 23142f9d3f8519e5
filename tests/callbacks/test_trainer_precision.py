"""Precisions of the Trainer under PSSTCallback equal loops by hand under the same autocast and scaler."""

import functools

import numpy as np
import pytest
import torch
from by_hand import HandLoop, Smooth, assert_parity, assert_same_run, fit
from pytorch_lightning.plugins import MixedPrecision
from torch.nn.utils import clip_grad_norm_
from two_tasks import TwoTasks, largest_difference, loader

from psst.callbacks import PSSTCallback

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]
#: Rounding of the parameters flips a bit of bfloat16 (2^-9) or float16 (2^-12) here and there on the way.
FLIPS = 2e-4


def half(device, dtype):
    return functools.partial(torch.autocast, device, dtype, cache_enabled=False)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("shared_forward", [False, True])
def test_bf16_mixed(shared_forward, accumulate):
    assert_parity(
        lambda: TwoTasks(shared_forward=shared_forward),
        by_hand={"autocast": half("cpu", torch.bfloat16), "accumulate": accumulate},
        tolerance=FLIPS,
        precision="bf16-mixed",
        accumulate_grad_batches=accumulate,
    )


def test_bf16_mixed_is_not_full_precision():
    """Else the parity above would say nothing."""
    full, mixed = TwoTasks(), TwoTasks()
    fit(full, PSSTCallback(Smooth()))
    fit(mixed, PSSTCallback(Smooth()), precision="bf16-mixed")
    assert largest_difference(full, mixed) > 5 * FLIPS


def test_double_precision():
    """Far closer than single precision would come."""
    expected, loop = TwoTasks().double(), HandLoop(Smooth())
    loop.fit(expected, [[part.double() for part in batch] for batch in loader()])
    ours, method = TwoTasks(), Smooth()
    fit(ours, PSSTCallback(method), precision="64-true")
    assert ours.inner.weight.dtype == torch.float64
    assert_same_run(method, loop.method, 1e-12)
    assert largest_difference(expected, ours) < 1e-12


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3}], ids=str)
def test_16_mixed(device, settings):
    """The Trainer takes float16 on a GPU only; on a CPU its own precision plugin is handed to it."""
    clip = {"clip": lambda parameters: clip_grad_norm_(parameters, 0.3)} if settings else {}
    _, loop, expected, _, method, ours = both_in_half(TwoTasks, device, 2.0**10, settings, **clip)
    assert_same_run(method, loop.method, FLIPS)
    assert largest_difference(expected, ours) < FLIPS
    assert largest_difference(TwoTasks(), ours) > 100 * FLIPS


@pytest.mark.parametrize("device", DEVICES)
def test_an_overflow_reaches_the_scaler_which_skips_the_update_and_backs_off(device):
    """A scale of 2^22 takes gradients of about 0.1 out of float16's range (2^16) until it is halved."""
    by_hand, loop, expected, scaler, method, ours = both_in_half(TwoTasks, device, 2.0**22, {"max_epochs": 2})
    assert scaler.get_scale() == by_hand.get_scale() < 2.0**20
    overflows = [not np.isfinite(state.gramian).all() for state in loop.method.states]
    assert overflows == [not np.isfinite(state.gramian).all() for state in method.states]
    assert 2 <= sum(overflows) < 12
    assert largest_difference(expected, ours) < FLIPS
    assert largest_difference(TwoTasks(), ours) > 100 * FLIPS


def both_in_half(make, device, scale, settings, **by_hand):
    """The loop by hand and the Trainer, each with a scaler of its own that starts at `scale`."""
    scalers = [torch.amp.GradScaler(device, init_scale=scale, growth_interval=1000) for _ in range(2)]
    accumulate = settings.get("accumulate_grad_batches", 1)
    loop = HandLoop(
        Smooth(), accumulate=accumulate, autocast=half(device, torch.float16), scaler=scalers[0], **by_hand
    )
    batches = [[part.to(device) for part in batch] for batch in loader()]
    expected = loop.fit(make().to(device), batches, settings.get("max_epochs", 1)).cpu()
    ours, method = make(), Smooth()
    plugin = MixedPrecision("16-mixed", device, scalers[1])
    accelerator = {"accelerator": "gpu" if device == "cuda" else "cpu"}
    fit(ours, PSSTCallback(method), plugins=[plugin], **accelerator, **settings)
    return scalers[0], loop, expected, scalers[1], method, ours.cpu()
