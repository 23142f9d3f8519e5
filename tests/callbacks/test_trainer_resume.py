"""Interrupted, resumed, repeated and stopped fits under PSSTCallback, against whole ones."""

import copy

import numpy as np
import pytest
import torch
from by_hand import ROUNDING, HandLoop, Smooth, Told, assert_same_run, fit
from pytorch_lightning.callbacks import EarlyStopping, LearningRateFinder, ModelCheckpoint
from two_tasks import TwoTasks, largest_difference, loader, trainer

from psst.callbacks import PSSTCallback


class GoesOn:
    """Batches in order; a checkpoint in mid-epoch remembers the place, as Lightning's stateful loaders do."""

    def __init__(self, n_batches=6):
        self.batches, self.place, self.first = list(loader(n_batches)), 0, 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        first, self.first = self.first, 0
        for place in range(first, len(self.batches)):
            self.place = place + 1
            yield self.batches[place]

    def state_dict(self):
        return {"place": self.place % len(self.batches)}

    def load_state_dict(self, state):
        self.first = state["place"]


def assert_equal(one, other):
    """Nested states, bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


@pytest.mark.parametrize("stop", [2, 4, 6, 9])
def test_resumed_in_mid_fit(tmp_path, stop):
    """In the warm-up, after it, at the end of an epoch and in the second: the rest comes out bit for bit."""
    whole, whole_method = TwoTasks(), Told()
    uninterrupted = PSSTCallback(whole_method)
    fit(whole, uninterrupted, batches=GoesOn(), max_epochs=3)
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=stop, save_top_k=-1)
    first = PSSTCallback(Told())
    fit(TwoTasks(), first, keep, batches=GoesOn(), max_steps=stop, max_epochs=3)
    second, method = TwoTasks(), Told()
    psst = PSSTCallback(method)
    run = fit(second, psst, batches=GoesOn(), max_epochs=3, ckpt_path=tmp_path / f"step={stop}.ckpt")
    assert run.global_step == 18
    assert np.array_equal(method.decided, whole_method.decided[stop:])
    assert_equal(psst.state_dict(), uninterrupted.state_dict())
    assert largest_difference(whole, second) == 0.0
    assert psst.trajectory.first_step == stop


def test_model_checkpoint_keeps_what_the_loop_by_hand_has(tmp_path):
    snapshots = []
    loop = HandLoop(Smooth(), after_update=lambda m: snapshots.append(copy.deepcopy(m.state_dict())))
    loop.fit(TwoTasks(), list(loader()))
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    fit(TwoTasks(), PSSTCallback(Smooth()), keep)
    for step, expected in enumerate(snapshots, start=1):
        kept = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)
        assert kept["state_dict"].keys() == expected.keys()
        for name, value in kept["state_dict"].items():
            assert torch.allclose(value, expected[name], rtol=0, atol=ROUNDING)


class Growing(TwoTasks):
    """Validation gets better for two epochs and then worse."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", abs(self.current_epoch - 1.0))


def test_early_stopping_and_the_best_checkpoint(tmp_path):
    loop, module, method = HandLoop(Smooth()), Growing(), Smooth()
    expected = loop.fit(Growing(), list(loader()), 4)
    best = ModelCheckpoint(tmp_path, monitor="val_loss")
    stop = EarlyStopping("val_loss", patience=2)
    run = fit(module, PSSTCallback(method), best, stop, validation=loader(2), max_epochs=9)
    assert run.current_epoch == 4
    assert_same_run(method, loop.method)
    assert largest_difference(expected, module) < ROUNDING
    two_epochs = HandLoop(Smooth()).fit(Growing(), list(loader()), 2)
    restored = Growing.load_from_checkpoint(best.best_model_path)
    assert largest_difference(two_epochs, restored) < ROUNDING


def test_callbacks_can_watch_what_psst_logs(tmp_path):
    keep = ModelCheckpoint(tmp_path, "{epoch}", monitor="psst/loss/main", save_top_k=1)
    stop = EarlyStopping("psst/loss/main", check_on_train_epoch_end=True, patience=3)
    fit(TwoTasks(), PSSTCallback(Smooth()), keep, stop, max_epochs=2)
    assert float(keep.best_model_score) > 0
    assert keep.best_model_path


class Memoryless(TwoTasks):
    """An optimizer without a state, which a second fit would lose."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("method", [Smooth, Told])
def test_a_second_fit_of_the_same_trainer_goes_on(method):
    loop = HandLoop(method())
    expected = loop.fit(Memoryless(), list(loader()), 4)
    module, ours = Memoryless(), method()
    run = trainer(PSSTCallback(ours), max_epochs=2)
    run.fit(module, loader())
    run.fit_loop.max_epochs = 4
    run.fit(module, loader())
    assert_same_run(ours, loop.method)
    assert largest_difference(expected, module) < ROUNDING


def test_a_callback_handed_to_a_fresh_trainer_begins_anew():
    """Averages, counters and the method's memory of the first fit are gone, as its optimizer's are."""
    psst, method = PSSTCallback(Told()), Told()
    fit(TwoTasks(), psst, max_epochs=2)
    module, expected = TwoTasks(), TwoTasks()
    fit(module, psst)
    fit(expected, PSSTCallback(method))
    assert np.array_equal(psst.method.decided[-6:], method.decided)
    assert largest_difference(expected, module) == 0.0


@pytest.mark.filterwarnings("ignore")
def test_a_finder_may_stand_before_or_after_the_callback_in_a_resumed_fit(tmp_path):
    """Before it, it saves and restores everything while the callback's own fit has not begun."""

    class Tuned(TwoTasks):
        lr = 0.1  # the finder asks for one

    run = trainer(PSSTCallback(Told()), max_epochs=1)
    run.fit(Tuned(), loader())
    run.save_checkpoint(tmp_path / "half.ckpt")
    settings = {"ckpt_path": tmp_path / "half.ckpt", "default_root_dir": tmp_path, "max_epochs": 2}
    found = []
    for before in (True, False):
        module, psst = Tuned(), PSSTCallback(Told())
        finder = LearningRateFinder(num_training_steps=5, update_attr=False)
        fit(module, *([finder, psst] if before else [psst, finder]), **settings)
        found.append((module, psst))
    (first, ahead), (second, behind) = found
    assert_equal(ahead.state_dict(), behind.state_dict())
    assert largest_difference(first, second) == 0.0
