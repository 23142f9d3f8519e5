"""The denoised Gramian in a fit: who gets it, when, and over a resume."""

import functools

import numpy as np
import pytest
import torch
from by_hand import Smooth
from trunked import Trunked
from two_tasks import largest_difference, loader, trainer

from psst.callbacks import PSSTCallback, settings
from psst.pareto import Decision, FixedWeights
from psst.pareto.denoise import DenoisedGramian

ENOUGH = 20  # steps, for the decay below


@pytest.fixture
def short(monkeypatch):
    """A shorter memory, so that fits may be short."""
    monkeypatch.setattr(settings, "DenoisedGramian", functools.partial(DenoisedGramian, decay=0.95))


class Guarded(Smooth):
    """Decides by the denoised Gramian where there is one."""

    def decide(self, state):
        decision = super().decide(state)
        if state.denoised is None:
            return decision
        lengths = np.sqrt(state.denoised.diagonal()) + 1e-3
        return Decision(lengths / lengths.sum(), 0.0)


def fit(module, callback, epochs, ckpt_path=None, n_batches=8):
    run = trainer(callback, max_epochs=epochs)
    run.fit(module, loader(n_batches), ckpt_path=ckpt_path)
    return run


class Still(Trunked):
    """Parameters stand still, so that the true gradients are known: those of all batches together."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_the_method_gets_it_after_enough_steps_and_it_is_the_true_gramian(short):
    method = Smooth()
    fit(Still(), PSSTCallback(method, denoise=True), epochs=3, n_batches=24)
    first = next(i for i, state in enumerate(method.states) if state.denoised is not None)
    assert first + 1 == ENOUGH
    module = Still()
    data = torch.cat([batch for (batch,) in loader(24)])
    rows = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(module.loss(module.features(data), n), module.trunk.parameters())
            ]
        )
        for n in module.names
    ]
    truth = (torch.stack(rows) @ torch.stack(rows).T).numpy()
    noisy = np.mean([state.gramian for state in method.states], axis=0)
    found = method.states[-1].denoised
    assert np.abs(found - truth).max() < 0.35 * np.abs(noisy - truth).max()
    assert np.linalg.eigvalsh(found).min() >= -1e-9 * found.trace()


def test_by_default_it_takes_a_hundred_steps():
    method = Smooth()
    fit(Trunked(), PSSTCallback(method, denoise=True), epochs=1, n_batches=101)
    assert [state.denoised is not None for state in method.states] == [False] * 99 + [True] * 2


def test_without_it_and_for_features_there_is_none(short):
    for arguments in ({}, {"scope": "features", "denoise": True}):
        method = Smooth()
        fit(Trunked(), PSSTCallback(method, **arguments), epochs=3)
        assert all(state.denoised is None for state in method.states)


def test_last_block_denoises_its_own_gramian(short):
    method = Smooth()
    fit(Still(), PSSTCallback(method, scope="last_block", denoise=True), epochs=4)
    assert (
        method.states[-1].denoised.diagonal() < np.max([s.gramian.diagonal() for s in method.states], 0)
    ).all()


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, short):
    def callback():
        return PSSTCallback(Guarded(), denoise=True)

    whole, first, resumed = Trunked(), Trunked(), Trunked()
    fit(whole, callback(), epochs=5)
    run = fit(first, callback(), epochs=4)
    run.save_checkpoint(tmp_path / "half.ckpt")
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    fit(resumed, callback(), epochs=5, ckpt_path=tmp_path / "half.ckpt")
    assert largest_difference(whole, resumed) == 0.0


def test_a_second_fit_of_the_same_trainer_goes_on(short):
    method = Smooth()
    run = trainer(PSSTCallback(method, denoise=True), max_epochs=2)
    module = Trunked()
    run.fit(module, loader(8))
    run.fit_loop.max_epochs = 4
    run.fit(module, loader(8))
    assert all(state.denoised is not None for state in method.states[ENOUGH:])


def test_the_checkpoint_holds_m_copies_of_the_shared_gradients_or_none():
    shared = sum(p.numel() for p in Trunked().trunk.parameters())
    for denoise, copies in ((True, 2), (False, 0)):
        callback = PSSTCallback(FixedWeights(1.0), denoise=denoise)
        fit(Trunked(), callback, epochs=1)
        state = callback.state_dict()["denoiser"] or {"memory": []}
        numbers = [value for task in state["memory"] for value in task.values()]
        assert sum(value.numel() for value in numbers) == copies * shared
        assert all(value.device.type == "cpu" and value.dtype == torch.float32 for value in numbers)


def test_gradients_that_overflow_are_left_out(short):
    class Hooked(Still):
        """A finite loss whose gradient is not: as float16 gives them."""

        def features(self, x):
            features = super().features(x)
            if self.trainer.fit_loop.epoch_loop.batch_progress.current.ready == 4:
                features.register_hook(lambda g: g * torch.inf)
            return features

        def on_before_optimizer_step(self, optimizer):  # in place of a gradient scaler, which would skip it
            for parameter in self.parameters():
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)

    method = Smooth()
    callback = PSSTCallback(method, denoise=True)
    fit(Hooked(), callback, epochs=3)
    assert callback.skipped == 3
    assert callback._step.denoiser.steps == 3 * 7
    assert np.isfinite(method.states[-1].denoised).all()
