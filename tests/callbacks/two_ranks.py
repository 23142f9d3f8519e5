"""Fits on two gloo ranks, which are forks, for test_trainer_ddp.py; one file a case and rank.

``python two_ranks.py FOLDER CASE...`` does it in a process of its own.
"""

import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from by_hand import Smooth, Told
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler
from two_tasks import TwoTasks, loader, trainer

from psst.callbacks import PSSTCallback

N_BATCHES, BATCH_SIZE, N_EPOCHS = 6, 8, 2


class Evaluating(TwoTasks):
    """BatchNorm by fixed statistics: what a batch gives is the mean of what its halves give.

    Args:
        spare: A layer that no task uses.
    """

    def __init__(self, spare=False, **arguments):
        super().__init__(**arguments)
        if spare:
            self.spare = nn.Linear(2, 2)

    def features(self, x, name):
        self.norm.eval()
        return self.outer(self.norm(self.inner(x)).relu())

    def train_dataloader(self):
        """On rank r of two, samples r, r + 2, ... of each joined batch; Lightning's own sampler shuffles."""
        data = joined_loader().dataset
        return DataLoader(data, BATCH_SIZE, sampler=DistributedSampler(data, shuffle=False))


class OneSided(Evaluating):
    """Each rank has its own data: not every task is computed on both.

    Args:
        tasks: Those of each rank.
    """

    task_names = ("main", "other")

    def __init__(self, tasks=(("main",), ("main", "other")), **arguments):
        super().__init__(**arguments)
        self.tasks, self.rank = tasks, None

    def training_step(self, batch, batch_idx):
        losses = super().training_step(batch, batch_idx)["losses"]
        rank = self.trainer.global_rank if self.rank is None else self.rank
        losses = {name: losses[name] for name in self.tasks[rank]}
        return {"loss": sum(losses.values()), "losses": losses}


class Kept(pl.Callback):
    """Each rank writes what it has in the end; Lightning brings only rank 0's parameters home."""

    def __init__(self, path, method, psst):
        self.path, self.method, self.psst = path, method, psst

    def on_train_end(self, trainer, pl_module):
        found = {
            "parameters": {name: value.clone() for name, value in pl_module.state_dict().items()},
            "weights": torch.tensor(np.array(self.method.decided)),
            "gramians": torch.tensor(np.array([state.gramian for state in self.method.states])),
            "mean_weights": torch.tensor(self.psst.mean_weights),
            "trajectory": torch.tensor(self.psst.trajectory.log_losses),
            "skipped": torch.tensor(self.psst.skipped),
            "reached": {name: list(found) for name, found in self.psst.state_dict()["reached"].items()},
        }
        torch.save(found, self.path.with_suffix(f".{trainer.global_rank}.pt"))


#: From a name to the module's arguments, the method, and the Trainer's settings.
CASES = {
    "accumulated, clipped, unused": (
        {"spare": True},
        Smooth,
        {"accumulate_grad_batches": 4, "gradient_clip_val": 0.1},
    ),
    "by losses, shared": ({"shared_forward": True}, Told, {}),
    "one sided, unused": ({"tasks": (("main",), ("main", "other"))}, Smooth, {}),
}
SLOW_CASES = {
    "separate": ({}, Smooth, {}),
    "shared": ({"shared_forward": True}, Smooth, {}),
    "accumulated": ({}, Smooth, {"accumulate_grad_batches": 2}),
    "clipped": ({}, Smooth, {"gradient_clip_val": 0.3}),
    "unused": ({"spare": True}, Smooth, {}),
    "by losses": ({}, Told, {}),
    "a task a rank, one sided, unused": ({"tasks": (("main",), ("other",))}, Smooth, {}),
    "window": ({}, Smooth, {"accumulate_grad_batches": 4}),
    "by losses, accumulated": ({}, Told, {"accumulate_grad_batches": 2}),
}
ALL_CASES = CASES | SLOW_CASES


def module_of(name):
    return (OneSided if "one sided" in name else Evaluating)(**ALL_CASES[name][0])


def joined_loader():
    return loader(N_BATCHES, 2 * BATCH_SIZE)


def run(folder, name):
    _, make_method, settings = ALL_CASES[name]
    method = make_method()
    psst = PSSTCallback(method, accumulate="window" if name == "window" else "micro_batch")
    strategy = DDPStrategy(
        start_method="fork", process_group_backend="gloo", find_unused_parameters="unused" in name
    )
    settings = {"max_epochs": N_EPOCHS, "use_distributed_sampler": False, **settings}
    run = trainer(psst, devices=2, strategy=strategy, **settings)
    run.callbacks.append(Kept(folder / name, method, psst))
    run.fit(module_of(name))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    for case in sys.argv[2:]:
        run(Path(sys.argv[1]), case)
