"""A small network whose two tasks compete, its data, and how its units are trained."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pytorch_lightning import LightningDataModule, LightningModule, seed_everything
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.pareto import Method
from psst.search.metric_judge import MetricJudge
from psst.search.python_run import PythonRun
from psst.search.result import Metric
from psst.search.settings import SearchSettings, TangentSettings
from psst.search.tangents.search import Solution
from psst.search.tangents.unit import continuation, rays_through
from psst.search.training_pass import on_training_batches
from psst.search.unit_callbacks import KeepAt, StopAt
from psst.search.units import Unit, fixed_weights

STEPS, WARM, LAST = 560, 260, 120
SETTINGS = TangentSettings(
    batches=16, curvature_batches=8, check_batches=16, recalibration_batches=4, correct_steps=50
)


class Conflict(LightningModule):
    """Two or three regressions through a trunk too narrow for all of them."""

    def __init__(self, names=("main", "other"), hidden=2, activation="tanh"):
        super().__init__()
        self.save_hyperparameters()
        self.names = list(names)
        kinds = {"tanh": nn.Tanh, "once": Once}
        self.trunk = nn.Sequential(nn.Linear(6, hidden), nn.BatchNorm1d(hidden), kinds[activation]())
        self.drop = nn.Dropout(0.02)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, 2) for name in names})

    def losses(self, batch):
        x, y = batch
        features = self.drop(self.trunk(x))
        return {
            name: F.mse_loss(self.heads[name](features), y[:, 2 * place : 2 * place + 2]) + 0.05
            for place, name in enumerate(self.names)
        }

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch)
        self.log("train/loss", sum(losses.values()).detach())
        return {"loss": sum(losses.values()), "losses": losses}

    def validation_step(self, batch, batch_idx):
        self.log("val/error", self.losses(batch)["main"])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-2)
        horizon = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, horizon, eta_min=1e-4)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Once(nn.Module):
    """An activation whose author has forbidden second derivatives."""

    def forward(self, x):
        return OnceFunction.apply(x)


class OnceFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Rotated(LightningDataModule):
    """Each task wants other directions of x; noise on top."""

    def __init__(self, noise=0.1, n=512, batch=64):
        super().__init__()
        self.noise, self.n, self.batch = noise, n, batch

    def samples(self, seed):
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(self.n, 6, generator=rng)
        y = torch.stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 2], x[:, 3], x[:, 1] - x[:, 4], x[:, 5]], dim=1)
        return TensorDataset(x, y + self.noise * torch.randn(y.shape, generator=rng))

    def setup(self, stage):
        self.train, self.val = self.samples(0), self.samples(1)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, 64)


class Judge(MetricJudge):
    """With the one method that the tangent needs."""

    def on_batches(self, state, starts, count, work):
        return on_training_batches(self.run, state, starts, count, work)


def make_run(factory=Conflict, data=None, steps=STEPS):
    return PythonRun(factory, data or Rotated(), steps, trainer={"accelerator": "cpu"})


def make_judge(run):
    return Judge(run, Metric("val/error", "min", "val/error"))


def train(run, unit, folder, start=None, keep=()):
    """What the search's runner does with a unit, in short."""
    folder.mkdir(exist_ok=True)
    callback = PSSTCallback(method=instantiate(unit.method, Method), ema=0.95)
    ending = StopAt(unit.stop)
    trainer = run.trainer(
        default_root_dir=str(folder),
        max_steps=run.max_steps,
        extra_callbacks=[callback, ending, KeepAt(keep, folder)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=run.max_steps + 1,
    )
    seed_everything(run.seed, verbose=False)
    trainer.fit(run.module(), datamodule=run.datamodule(), ckpt_path=start, weights_only=True)
    ending.check(trainer, unit.name)
    trainer.save_checkpoint(folder / "model.ckpt")
    state = torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
    return Solution(unit.name, state, callback.trajectory)


HELD = []


@cache
def trained_front():
    """A run, its folder, and two anchors from one warm start: parent and neighbor."""
    HELD.append(TemporaryDirectory())
    folder, run = Path(HELD[0].name), make_run()
    train(run, Unit("warm", "warm", fixed_weights([0.5]), 0, WARM), folder / "warm")
    anchors = {}
    for weight in (0.3, 1.0):
        unit = Unit(f"anchor-{weight:g}", "anchor", fixed_weights([weight]), WARM, STEPS)
        keep = (STEPS - SETTINGS.correct_steps, STEPS - LAST)
        anchors[weight] = train(run, unit, folder / unit.name, folder / "warm/model.ckpt", keep)
        anchors[weight].trajectory.save(folder / unit.name / "trajectory.npz")
    return run, folder, anchors[1.0], anchors[0.3]


def correction(proposal, front, folder):
    """The parent's checkpoint that the corrector goes on from, its unit, and what that starts with."""
    _, units, parent, neighbor = front
    first = STEPS - SETTINGS.correct_steps
    kept = KeepAt.path(units / parent.name, first)
    rays = rays_through(parent, neighbor, proposal.place, first)
    where = (kept, STEPS, folder, SearchSettings())
    return kept, *continuation(proposal.name, proposal.state, rays, *where, proposal.log_change)
