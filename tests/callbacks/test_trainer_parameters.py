"""Parameters that are frozen, unused, tied, grouped or scheduled, under PSSTCallback in a Trainer."""

import pytest
import torch
from by_hand import ROUNDING, Smooth, assert_parity, fit
from pytorch_lightning.callbacks import BaseFinetuning
from torch import nn
from two_tasks import TwoTasks

from psst.callbacks import PSSTCallback

TASKS = ("main", "a", "b")


class Uneven(TwoTasks):
    """Three tasks; all use the trunk, two of them `pair`, one each its head, none `spare`.

    Args:
        frozen: Prefixes of the parameters that do not train.
        late: Task `a` uses `pair` from the third batch on only.
        tied: The heads of `a` and `b` share their weight.
    """

    def __init__(self, frozen=(), late=False, tied=False):
        super().__init__(TASKS)
        self.late = late
        self.pair, self.spare = nn.Linear(5, 5), nn.Linear(2, 2)
        self.batch_idx = 0
        if tied:
            self.heads["b"].weight = self.heads["a"].weight
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.startswith(tuple(frozen)))

    def training_step(self, batch, batch_idx):
        self.batch_idx = batch_idx
        return super().training_step(batch, batch_idx)

    def features(self, x, name):
        features = super().features(x, name)
        uses_pair = name == "b" or (name == "a" and not (self.late and self.batch_idx < 2))
        return features + self.pair(features).tanh() if uses_pair else features


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"frozen": ("inner", "heads.a")},
        {"frozen": ("inner", "norm", "outer")},
        {"late": True},
        {"tied": True},
    ],
    ids=str,
)
def test_parameters_of_all_two_one_and_no_task(arguments, accumulate):
    """What several tasks reach gets the mixture, the rest its task's own gradient, the unused none."""
    _, ours = assert_parity(
        lambda: Uneven(**arguments), by_hand={"accumulate": accumulate}, accumulate_grad_batches=accumulate
    )
    start = Uneven(**arguments).state_dict()
    for name, parameter in ours.named_parameters():
        trained = not name.startswith(("spare", *arguments.get("frozen", ())))
        assert (parameter.grad is None) != trained
        if name != "inner.bias":  # the normalization after it leaves it a gradient of rounding errors
            assert torch.equal(start[name], parameter) != trained


def test_parameters_thawed_in_mid_fit():
    """From the second epoch on they are shared like the others; here by Lightning's own finetuning."""

    class Thaw(BaseFinetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.inner)

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.inner, optimizer, lr=0.1, initial_denom_lr=1.0)

    module = TwoTasks()
    run = fit(module, PSSTCallback(Smooth()), Thaw(), max_epochs=1)
    assert torch.equal(module.inner.weight, TwoTasks().inner.weight)
    thawed, method = TwoTasks(), Smooth()
    fit(thawed, PSSTCallback(method), Thaw(), max_epochs=2)
    assert not torch.equal(thawed.inner.weight, TwoTasks().inner.weight)
    assert run.global_step == 6
    assert method.states[6].gramian.trace() > method.states[5].gramian.trace()  # one more layer


class Grouped(TwoTasks):
    """Two groups of AdamW or SGD with their own learning rate and decay, and a scheduler.

    Args:
        schedule: From the optimizer to the scheduler.
        interval: Of its steps.
        make: The optimizer's class.
    """

    def __init__(self, schedule, interval, make=torch.optim.SGD):
        super().__init__()
        self.schedule, self.interval, self.make = schedule, interval, make

    def configure_optimizers(self):
        heads = {"params": list(self.heads.parameters()), "lr": 0.2, "weight_decay": 0.0}
        trunk = {"params": [p for n, p in self.named_parameters() if not n.startswith("heads")]}
        optimizer = self.make([heads, trunk], lr=0.02, weight_decay=0.1)
        scheduler = {"scheduler": self.schedule(optimizer), "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


SCHEDULES = {
    "one cycle a step": (
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, [0.3, 0.1], total_steps=20),
        "step",
    ),
    "exponential a step": (lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8), "step"),
    "steps of epochs": (lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.2), "epoch"),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_groups_and_schedulers(schedule, accumulate):
    """A scheduler of interval step moves once an update, not once a micro-batch."""
    run, _ = assert_parity(
        lambda: Grouped(*SCHEDULES[schedule]),
        by_hand={"accumulate": accumulate},
        max_epochs=3,
        accumulate_grad_batches=accumulate,
    )
    assert len({group["lr"] for group in run.optimizers[0].param_groups}) == 2


def test_adaptive_optimizer():
    """AdamW divides by the gradient's size: rounding of small gradients shows up as a share of the rate."""

    def make():
        module = Grouped(*SCHEDULES["exponential a step"], make=torch.optim.AdamW)
        module.inner.bias.requires_grad_(False)  # before a normalization its gradient is nothing but rounding
        return module

    assert_parity(make, tolerance=20 * ROUNDING)
