"""Small LightningModules with two or three heads on one trunk, and data for them."""

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Heads(LightningModule):
    """A trunk with dropout, one regression head a task; targets are columns of y.

    Args:
        names: Of the tasks.
        log_losses: Log `val/<task>_loss` for each.
        hidden: Width of the trunk.
        norm: Put BatchNorm into the trunk.
    """

    def __init__(self, names=("main", "other"), log_losses=True, hidden=8, norm=True):
        super().__init__()
        self.save_hyperparameters()
        self.names = list(names)
        self.trunk = nn.Sequential(
            nn.Linear(6, hidden),
            nn.BatchNorm1d(hidden) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, 1) for name in names})

    def losses(self, batch):
        x, y = batch
        features = self.trunk(x)
        return {
            name: F.mse_loss(self.heads[name](features)[:, 0], y[:, column]) + 0.05
            for column, name in enumerate(self.names)
        }

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch)
        self.log("train/loss", sum(losses.values()).detach())
        return {"loss": sum(losses.values()), "losses": losses}

    def validation_step(self, batch, batch_idx):
        losses = self.losses(batch)
        self.log("val/error", losses[self.names[0]])
        if self.hparams.log_losses:
            self.log_dict({f"val/{name}_loss": loss for name, loss in losses.items()})

    def test_step(self, batch, batch_idx):
        self.log("test/error", self.losses(batch)[self.names[0]])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def samples(n, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 0] - x[:, 2], x[:, 3].abs()], dim=1)
    return TensorDataset(x, y + 0.1 * torch.randn(y.shape, generator=rng))


class Noisy(torch.utils.data.Dataset):
    """Samples with an augmentation that draws from torch's global generator, in this process or a worker."""

    def __init__(self, base):
        self.base = base

    def __len__(self):
        return len(self.base)

    def __getitem__(self, index):
        x, y = self.base[index]
        return x + 0.01 * torch.randn(x.shape), y


class Columns(LightningDataModule):
    """Shuffled, augmented training data in batches that do not divide the training."""

    def __init__(self, num_workers=0, n=56, n_val=64):
        super().__init__()
        self.num_workers, self.n, self.n_val = num_workers, n, n_val

    def setup(self, stage):
        self.train, self.val = Noisy(samples(self.n, 0)), samples(self.n_val, 1)

    def train_dataloader(self):
        return DataLoader(self.train, 8, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(self.val, 32)

    def test_dataloader(self):
        return DataLoader(self.val, 64)
