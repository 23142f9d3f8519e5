"""What a search asks of a unit's trainer."""

from itertools import pairwise

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from psst.search.unit_callbacks import LearningRate, StopAt
from tests.search.tasks import Columns, Heads


class Rates(Callback):
    """Notes with which learning rate each step was taken, and what the schedule says after it."""

    def __init__(self):
        self.used, self.told = [], []

    def on_train_start(self, trainer, pl_module):
        # after those of LearningRate, which comes before
        group = trainer.optimizers[0].param_groups[0]
        trainer.optimizers[0].register_step_pre_hook(lambda *_: self.used.append(group["lr"]))

    def on_train_batch_end(self, trainer, *_):
        self.told.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(start, stop, steps, peak=1.0):
    notes, own = Rates(), LearningRate(start, stop, peak)
    trainer = Trainer(
        max_steps=steps,
        callbacks=[own, notes],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Heads(), Columns())
    return notes, own


def test_the_factor_multiplies_the_users_schedule_and_leaves_it_alone():
    plain, _ = rates(0, None, 12)
    fallen, own = rates(4, 12, 12)
    assert fallen.told == plain.told  # what the schedule sees
    for step, (with_factor, without) in enumerate(zip(fallen.used, plain.used, strict=True)):
        assert with_factor == pytest.approx(without * min(1.0, (12 - step) / 8))
    assert own.highest == max(plain.used)
    assert own.now == plain.used[-1]


def test_the_factor_falls_to_zero_and_never_below():
    rate = LearningRate(10, 20, 3.0)
    factors = [rate.factor(step) for step in range(5, 25)]
    assert factors[:6] == [3.0] * 6
    assert all(a >= b for a, b in pairwise(factors))
    assert factors[-1] == 0.0


def test_a_unit_that_ends_elsewhere_is_named():
    ending = StopAt(5)
    trainer = Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Heads(), Columns())
    with pytest.raises(ValueError, match="unit `look` ended at step 3 instead of 5"):
        ending.check(trainer, "look")


def test_averages_are_means_and_counters_are_the_first_ones():
    from psst.search.runner import averaged

    one = {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(4)}
    other = {"w": torch.tensor([3.0, 5.0]), "n": torch.tensor(9)}
    mixed = averaged([one, other])
    assert torch.equal(mixed["w"], torch.tensor([2.0, 4.0]))
    assert mixed["n"] == 4
