"""Small LightningModules with named losses, and a quiet trainer for them."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class TwoTasks(pl.LightningModule):
    """Nothing few-shot: a trunk with BatchNorm, one regression head a task, one forward a task.

    Args:
        names: Of the tasks.
        shared_forward: One forward for all tasks instead.
        adam: Adam instead of SGD.
    """

    def __init__(self, names=("main", "other"), shared_forward=False, adam=False):
        super().__init__()
        torch.manual_seed(0)
        self.names, self.shared_forward, self.adam = names, shared_forward, adam
        self.inner = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.outer = nn.Linear(8, 5)
        self.heads = nn.ModuleDict({name: nn.Linear(5, 2) for name in names})

    def features(self, x, name):
        hidden = self.inner(x)
        if name == "main":
            hidden = self.norm(hidden)
        else:  # own statistics, none kept
            hidden = F.batch_norm(hidden, None, None, self.norm.weight, self.norm.bias, training=True)
        return self.outer(hidden.relu())

    def loss(self, x, name):
        return F.mse_loss(self.heads[name](x), torch.ones(len(x), 2, device=x.device)) + 0.1

    def training_step(self, batch, batch_idx):
        (x,) = batch
        views = {name: x.roll(shift, dims=1) for shift, name in enumerate(self.names)}
        common = self.features(x, "main") if self.shared_forward else None
        features = {
            name: self.features(view, name) if common is None else common for name, view in views.items()
        }
        losses = {name: self.loss(f, name) for name, f in features.items()}
        return {"loss": sum(losses.values()), "losses": losses}

    def configure_optimizers(self):
        if self.adam:
            return torch.optim.Adam(self.parameters(), lr=1e-2)
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loader(n_batches=6, batch_size=8):
    rng = torch.Generator().manual_seed(3)
    return DataLoader(TensorDataset(torch.randn(n_batches * batch_size, 6, generator=rng)), batch_size)


def trainer(callback=None, **settings):
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings}
    settings = {"accelerator": "cpu", "devices": 1, "log_every_n_steps": 1, **settings}
    return pl.Trainer(
        callbacks=[callback] if callback is not None else [],
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def largest_difference(one, other):
    state = other.state_dict()
    return max(
        float((value - state[key]).abs().max())
        for key, value in one.state_dict().items()
        if value.is_floating_point()
    )
