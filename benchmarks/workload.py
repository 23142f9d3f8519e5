"""What `step_cost.py` and `memory.py` measure: one training step of an episodic model, by every method.

A backbone, a prototypical main task and one or two classification tasks beside it. With separate views each
task has its own forward: the episode, the same images turned by quarters, the same images flipped. With a
shared forward all heads read the features of the episode's images.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchjd.aggregation import MGDA, PCD, Aggregator, Mean, UPGrad
from torchjd.autojac import backward, jac_to_grad, mtl_backward

from psst.backbones import Backbone, Conv4, ResNet12, Timm
from psst.callbacks import PSSTCallback
from psst.fewshot import PrototypicalHead
from psst.pareto import FixedWeights, MinNorm, Preference, RaySet, Tradeoff

Step = Callable[[], None]
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Setting:
    """One table of a benchmark: ``n_way (n_shot + n_query)`` images a task, `n_tasks` tasks."""

    backbone: str
    size: int
    n_tasks: int
    forward: Literal["separate", "shared"] = "separate"
    n_way: int = 5
    n_shot: int = 1
    n_query: int = 15
    device: str = "cpu"

    def __str__(self) -> str:
        views = "separate views" if self.forward == "separate" else "one shared forward"
        images = f"{self.n_way * (self.n_shot + self.n_query)} images a task"
        return f"{self.backbone} at {self.size} x {self.size}, m = {self.n_tasks}, {views}, {images}"


def backbone_of(name: str) -> Backbone:
    if name.startswith("timm:"):
        return Timm(name.removeprefix("timm:"))
    return {"conv4": Conv4, "resnet12": ResNet12}[name]()


class Episodic(pl.LightningModule):
    """The model of a setting.

    Args:
        setting: Its sizes.
        form: Whether ``training_step`` gives losses, or callables that make them.
    """

    def __init__(self, setting: Setting, form: Literal["losses", "callables"] = "losses") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.setting, self.form = setting, form
        self.backbone = backbone_of(setting.backbone)
        self.backbone.build((3, setting.size, setting.size))
        self.head = PrototypicalHead()
        self.head.build(self.backbone.num_features)
        self.others = nn.ModuleList(
            nn.Linear(self.backbone.num_features, 4) for _ in range(setting.n_tasks - 1)
        )

    def loss(self, task: int, features: Tensor, labels: list[Tensor]) -> Tensor:
        """Of task 0 on an episode's features, or of another on the features of its views."""
        if task:
            return F.cross_entropy(self.others[task - 1](features), labels[task])
        n_support = self.setting.n_way * self.setting.n_shot
        support, query = features[:n_support][None], features[n_support:][None]
        logits = self.head(support, labels[0][None, :n_support], query, self.setting.n_way)
        return F.cross_entropy(logits[0], labels[0][n_support:])

    def features_and_losses(self, batch: list[list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """One forward a task, or one for all."""
        views, labels = batch
        if self.setting.forward == "shared":
            features = [self.backbone(views[0])] * self.setting.n_tasks
        else:
            features = [self.backbone(images) for images in views]
        return features, [self.loss(task, found, labels) for task, found in enumerate(features)]

    def training_step(self, batch: list[list[Tensor]], batch_idx: int) -> dict[str, Any]:
        """By PSSTCallback's convention."""
        names = ["main", *(f"other_{task}" for task in range(1, self.setting.n_tasks))]
        if self.form == "callables":
            views, labels = batch
            return {
                "losses": {
                    name: lambda task=task: self.loss(task, self.backbone(views[task]), labels)
                    for task, name in enumerate(names)
                }
            }
        _, losses = self.features_and_losses(batch)
        return {"loss": sum(losses), "losses": dict(zip(names, losses, strict=True))}


def batch_of(setting: Setting) -> list[list[Tensor]]:
    """Views and labels, one of each a task."""
    generator = torch.Generator().manual_seed(1)
    n_images = setting.n_way * (setting.n_shot + setting.n_query)
    images = torch.randn(n_images, 3, setting.size, setting.size, generator=generator)
    turns, flips = (torch.randint(4, (n_images,), generator=generator) for _ in range(2))
    turned = torch.stack([x.rot90(int(k), (1, 2)) for x, k in zip(images, turns, strict=True)])
    axes = [(), (1,), (2,), (1, 2)]
    flipped = torch.stack([x.flip(axes[int(k)]) for x, k in zip(images, flips, strict=True)])
    ways = [torch.arange(setting.n_way).repeat_interleave(n) for n in (setting.n_shot, setting.n_query)]
    views = [images, *[turned, flipped] * (setting.n_tasks // 2)]
    labels = [torch.cat(ways), *[turns, flips] * (setting.n_tasks // 2)]
    return [[tensor.to(setting.device) for tensor in part[: setting.n_tasks]] for part in (views, labels)]


@dataclass
class Run:
    """One way to make a step, ready to go.

    Attributes:
        step: Makes one: forwards, backward, Adam.
        module: What it trains.
        optimizer: With what.
        batch: On what.
    """

    module: Episodic
    optimizer: torch.optim.Optimizer
    batch: list[list[Tensor]]
    step: Step = field(default=lambda: None)

    @classmethod
    def start(cls, setting: Setting, form: Literal["losses", "callables"] = "losses") -> "Run":
        """A model of its own; `step` is still to come."""
        module = Episodic(setting, form).to(setting.device).train()
        return cls(module, torch.optim.Adam(module.parameters(), lr=1e-3), batch_of(setting))


def lightning(setting: Setting, callback: PSSTCallback | None, form: str = "losses") -> Run:
    """What the fit loop does with ``training_step`` and the callback's hooks, in its order."""
    run = Run.start(setting, form)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, log_every_n_steps=10**9
    )
    trainer.strategy._lightning_module = run.module
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    hooks = pl.Callback() if callback is None else callback
    hooks.setup(trainer, run.module, "fit")
    hooks.on_fit_start(trainer, run.module)

    def step() -> None:
        hooks.on_train_batch_start(trainer, run.module, run.batch, 0)
        loss = run.module.training_step(run.batch, 0)["loss"]
        hooks.on_before_zero_grad(trainer, run.module, run.optimizer)
        run.optimizer.zero_grad()
        hooks.on_before_backward(trainer, run.module, loss)
        loss.backward()
        hooks.on_after_backward(trainer, run.module)
        hooks.on_before_optimizer_step(trainer, run.module, run.optimizer)
        run.optimizer.step()
        progress.completed += 1  # the trainer's global step
        hooks.on_train_batch_end(trainer, run.module, None, run.batch, 0)

    run.step = step
    return run


def torchjd(setting: Setting, aggregator: Aggregator, chunk: int | None = 1, lean: bool = False) -> Run:
    """Jacobian of the losses by ``autojac.backward``; the other tasks' heads get their own gradient."""
    run = Run.start(setting)
    shared, heads = list(run.module.backbone.parameters()), list(run.module.others.parameters())
    options = {"optimize_gramian_computation": True} if lean else {}

    def step() -> None:
        losses = run.module.features_and_losses(run.batch)[1]
        run.optimizer.zero_grad()
        own = torch.autograd.grad(sum(losses[1:]), heads, retain_graph=True)  # stops at the features: cheap
        for parameter, gradient in zip(heads, own, strict=True):
            parameter.grad = gradient
        backward(losses, inputs=shared, parallel_chunk_size=chunk)
        jac_to_grad(shared, aggregator, **options)
        run.optimizer.step()

    run.step = step
    return run


def torchjd_mtl(setting: Setting, aggregator: Aggregator) -> Run:
    """The same by ``autojac.mtl_backward``, which knows of features and heads."""
    run = Run.start(setting)
    shared = list(run.module.backbone.parameters())
    tasks = [[], *[list(head.parameters()) for head in run.module.others]]

    def step() -> None:
        features, losses = run.module.features_and_losses(run.batch)
        run.optimizer.zero_grad()
        tensors = features[:1] if setting.forward == "shared" else features
        mtl_backward(losses, tensors, tasks_params=tasks, shared_params=shared, parallel_chunk_size=1)
        jac_to_grad(shared, aggregator)
        run.optimizer.step()

    run.step = step
    return run


def preference(n_tasks: int) -> Preference:
    """On the first of four rays; the losses do not stand on it, so that the weights are tilted."""
    points = np.vstack([np.eye(n_tasks), np.zeros((1, n_tasks))])[:4]
    return Preference(RaySet.constant(points), 0)


def psst(setting: Setting, form: str = "losses", method: Any = None, **options: Any) -> Run:
    """PSSTCallback's step, by default with a method that reads the Gramian."""
    method = method or MinNorm()
    return lightning(setting, PSSTCallback(method, **options), form)


Maker = Callable[[Setting], Run]
"""Makes a run of a setting; ImportError where this installation lacks what it needs."""

SUMMED = "summed, one backward"

MAKERS: dict[str, Maker] = {
    SUMMED: lambda setting: lightning(setting, None),
    "PSST": lambda setting: psst(setting),
    "PSST fixed weights": lambda setting: psst(setting, method=FixedWeights(0.3)),
    "PSST tradeoff": lambda setting: psst(setting, method=Tradeoff(0.3)),
    "PSST preference": lambda setting: psst(setting, method=preference(setting.n_tasks)),
    "PSST scope=last_block": lambda setting: psst(setting, scope="last_block"),
    "PSST callables": lambda setting: psst(setting, "callables"),
    "TorchJD backward, Mean": lambda setting: torchjd(setting, Mean()),
    "TorchJD backward, MGDA": lambda setting: torchjd(setting, MGDA()),
    "TorchJD backward, UPGrad": lambda setting: torchjd(setting, UPGrad()),
    "TorchJD backward, PCD": lambda setting: torchjd(setting, PCD()),
    "TorchJD backward, MGDA, lean": lambda setting: torchjd(setting, MGDA(), lean=True),
    "TorchJD backward, MGDA, vmap": lambda setting: torchjd(setting, MGDA(), None),
    "TorchJD mtl_backward, MGDA": lambda setting: torchjd_mtl(setting, MGDA()),
}


def chosen(names: list[str], words: list[str] | None) -> list[str]:
    """The baseline and the names that hold one of the words; a word that is a name stands for it alone."""
    exact = set(words or ()) & set(names)
    parts = [word for word in words or () if word not in exact]
    return [
        name
        for name in names
        if not words or name == SUMMED or name in exact or any(part in name for part in parts)
    ]


def runs(setting: Setting, names: list[str]) -> Iterator[tuple[str, Run]]:
    """The named runs; those that this installation lacks are left out with a line that says why."""
    for name in names:
        try:
            run = MAKERS[name](setting)
        except ImportError as error:
            print(f"  ({name} left out: {error})")
        else:
            yield name, run
