"""A trunk of three blocks with one head a task, for what looks at blocks."""

from itertools import pairwise

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F


class Passes(torch.autograd.Function):
    """Identity that counts backward passes."""

    @staticmethod
    def forward(ctx, x, counts, key):
        ctx.counts, ctx.key = counts, key
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        ctx.counts[ctx.key] = ctx.counts.get(ctx.key, 0) + 1
        return grad_output, None, None


class Trunked(pl.LightningModule):
    """No batch statistics; one shared forward.

    Args:
        names: Of the tasks.
        functions: Losses as functions, each with a forward of its own.
    """

    def __init__(self, names=("main", "other"), functions=False):
        super().__init__()
        torch.manual_seed(0)
        self.names, self.functions, self.passes = names, functions, {}
        widths = (6, 8, 7, 5)
        self.trunk = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in pairwise(widths)))
        self.heads = nn.ModuleDict({name: nn.Linear(5, 2) for name in names})

    def features(self, x):
        for key, block in enumerate(self.trunk):
            x = Passes.apply(block(x), self.passes, key)
        return x

    def loss(self, features, name):
        target = torch.full((len(features), 2), 1.0 + self.names.index(name))
        return F.mse_loss(self.heads[name](features), target) + 0.1

    def training_step(self, batch, batch_idx):
        (x,) = batch
        if self.functions:
            return {
                "losses": {name: lambda name=name: self.loss(self.features(x), name) for name in self.names}
            }
        features = self.features(x)
        losses = {name: self.loss(features, name) for name in self.names}
        return {"loss": sum(losses.values()), "losses": losses}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
