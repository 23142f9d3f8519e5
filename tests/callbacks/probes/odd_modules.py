"""Odd LightningModules that train under plain backward, and the loop by hand they are held against."""

from itertools import pairwise

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

WEIGHT = 0.6
BATCHES = [torch.randn(8, 6, generator=torch.Generator().manual_seed(i)) for i in range(8)]


class Base(pl.LightningModule):
    """A trunk and one head a task, one forward for both; `losses` is what most probes change."""

    names = ("main", "other")
    dtype_ = torch.float32

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            *(nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in pairwise((6, 8, 5)))
        )
        self.heads = nn.ModuleDict({name: nn.Linear(5, 2) for name in self.names})
        self.to(self.dtype_)

    def loss(self, features, name):
        return (self.heads[name](features) - 1.0 - self.names.index(name)).square().mean() + 0.1

    def losses(self, x, i):
        features = self.trunk(x)
        return {name: self.loss(features, name) for name in self.names}

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch.to(self.dtype_), batch_idx)
        known = [loss for loss in losses.values() if isinstance(loss, torch.Tensor)]
        return {"loss": sum(known), "losses": losses} if known else {"losses": losses}

    def before(self, i):
        """What happens to the module before step i."""

    def on_train_batch_start(self, batch, batch_idx):
        self.before(batch_idx)

    def configure_optimizers(self):
        self.optimizer = torch.optim.SGD(
            [p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.5
        )
        return self.optimizer


class SeparateViews(Base):
    def losses(self, x, i):
        return {name: self.loss(self.trunk(x.roll(k, 1)), name) for k, name in enumerate(self.names)}


class TwoOfThree(Base):
    names = ("main", "a", "b")

    def losses(self, x, i):
        found = super().losses(x, i)
        return {**found, "b": self.loss(self.trunk(x.flip(1)), "b")}


class Grown(Base):
    """Progressive growth: a block is added in mid-epoch."""

    def before(self, i):
        if i == 3:
            torch.manual_seed(1)
            self.trunk.append(nn.Linear(5, 5))
            self.optimizer.add_param_group({"params": self.trunk[-1].parameters()})


class LateLora(Base):
    """A layer is frozen and a low-rank correction put beside it."""

    def before(self, i):
        if i == 3:
            torch.manual_seed(1)
            self.trunk[0][0].requires_grad_(False)
            self.low = nn.Linear(6, 8, bias=False)
            self.optimizer.add_param_group({"params": self.low.parameters()})

    def losses(self, x, i):
        hidden = self.trunk[0][0](x) + (self.low(x) if hasattr(self, "low") else 0.0)
        features = self.trunk[1](hidden.tanh())
        return {name: self.loss(features, name) for name in self.names}


class Replaced(Base):
    def before(self, i):
        if i == 2:
            torch.manual_seed(1)
            self.trunk[0][0] = nn.Linear(6, 8)
            self.optimizer.add_param_group({"params": self.trunk[0][0].parameters()})


class HeldOutside(Base):
    """A temperature that only the optimizer knows."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.outside = [torch.ones((), requires_grad=True)]
        optimizer.add_param_group({"params": self.outside})
        return optimizer

    def losses(self, x, i):
        features = self.outside[0] * self.trunk(x)
        return {name: self.loss(features, name) for name in self.names}


class Complex(Base):
    def __init__(self):
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(4, dtype=torch.complex64))

    def losses(self, x, i):
        x = torch.fft.irfft(torch.fft.rfft(x) * self.spectrum, n=6)
        return super().losses(x, i)


class Sparse(Base):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 6, sparse=True)

    def losses(self, x, i):
        return super().losses(x + self.table(torch.arange(len(x)) % (3 + i)), i)

    def configure_optimizers(self):
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return self.optimizer


class Absent(Base):
    task_names = ("main", "other")

    def losses(self, x, i):
        found = super().losses(x, i)
        return {name: found[name] for name in self.names if i % 3 or name == "main"}


class MainAbsent(Base):
    task_names = ("main", "other")

    def losses(self, x, i):
        found = super().losses(x, i)
        return {name: loss if i % 3 != 1 or name == "other" else None for name, loss in found.items()}


class AnotherOrder(Base):
    def losses(self, x, i):
        found = super().losses(x, i)
        return found if i % 2 else dict(reversed(found.items()))


class Negative(Base):
    def loss(self, features, name):
        return super().loss(features, name) - 7.0


class Zero(Base):
    def losses(self, x, i):
        found = super().losses(x, i)
        return {**found, "other": found["other"] * (i % 2)}


class Constant(Base):
    def losses(self, x, i):
        found = super().losses(x, i)
        return {**found, "other": torch.tensor(1.0) if i == 2 else found["other"]}


class Hooked(Base):
    """A gradient reversal, written as a hook on the features."""

    def losses(self, x, i):
        features = self.trunk(x)
        features.register_hook(lambda gradient: -0.5 * gradient)
        return {name: self.loss(features, name) for name in self.names}


class TiedHeads(Base):
    def __init__(self):
        super().__init__()
        self.heads["other"].weight = self.heads["main"].weight


class Unfrozen(Base):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.trunk[0].requires_grad_(False)
        return optimizer

    def before(self, i):
        self.trunk[0].requires_grad_(i > 3)


class LeafLoss(Base):
    """A loss that is a parameter itself."""

    def __init__(self):
        super().__init__()
        self.price = nn.Parameter(torch.tensor(2.0))

    def losses(self, x, i):
        found = super().losses(x, i)
        return {"main": found["main"] * self.price, "other": self.price}


class Checkpointed(Base):
    def losses(self, x, i):
        features = checkpoint(self.trunk, x, use_reentrant=False)
        return {name: self.loss(features, name) for name in self.names}


class Recurrent(Base):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(1, 6, batch_first=True)

    def losses(self, x, i):
        return super().losses(self.cell(x[..., None])[0][:, -1], i)


class HeadOnly(Base):
    """The other task learns from features as they are."""

    def losses(self, x, i):
        features = self.trunk(x)
        return {"main": self.loss(features, "main"), "other": self.loss(features.detach(), "other")}


class OwnTrunk(Base):
    """What only the auxiliary tasks share."""

    names = ("main", "a", "b")

    def __init__(self):
        super().__init__()
        self.side = nn.Linear(5, 5)

    def losses(self, x, i):
        features = self.trunk(x)
        side = self.side(features)
        return {"main": self.loss(features, "main"), "a": self.loss(side, "a"), "b": self.loss(side, "b")}


class Double(Base):
    dtype_ = torch.float64


class Normalized(Base):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def losses(self, x, i):
        return super().losses(self.norm(x), i)


class Dropped(Base):
    def losses(self, x, i):
        torch.manual_seed(i)
        return super().losses(F.dropout(x, 0.3), i)


class Functions(Base):
    def losses(self, x, i):
        return {name: lambda name=name: self.loss(self.trunk(x), name) for name in self.names}


class Compiled(Base):
    def __init__(self):
        super().__init__()
        self.fast = torch.compile(self.trunk, backend="aot_eager")

    def losses(self, x, i):
        features = self.fast(x)
        return {name: self.loss(features, name) for name in self.names}


class Penalized(Base):
    """A gradient penalty inside a loss: second derivatives of the module's own."""

    def losses(self, x, i):
        x = x.clone().requires_grad_()
        found = super().losses(x, i)
        (slope,) = torch.autograd.grad(found["main"], x, create_graph=True)
        return {**found, "other": found["other"] + slope.square().sum()}


PROBES = [
    Base, SeparateViews, TwoOfThree, Grown, LateLora, Replaced, HeldOutside, Complex, Sparse,
    Absent, MainAbsent, AnotherOrder, Negative, Zero, Constant, Hooked, TiedHeads, Unfrozen,
    LeafLoss, Checkpointed, Recurrent, HeadOnly, OwnTrunk, Double, Normalized, Dropped, Functions,
    Compiled, Penalized,
]  # fmt: skip


def by_hand(module):
    """Train by hand with fixed weights on what two tasks have reached, and plain sums elsewhere."""
    optimizer = module.configure_optimizers()
    module.train()
    share = {name: 1.0 if name == "main" else WEIGHT for name in module.names}
    reached = {name: set() for name in module.names}
    for i, batch in enumerate(BATCHES):
        module.before(i)
        losses = module.training_step(batch, i)["losses"]
        losses = {
            name: loss() if callable(loss) else loss for name, loss in losses.items() if loss is not None
        }
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        found = {}
        for name, loss in losses.items():
            empty = [None] * len(parameters)
            found[name] = (
                torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                if loss.requires_grad
                else empty
            )
            reached[name] |= {id(p) for p, g in zip(parameters, found[name], strict=True) if g is not None}
        total = sum(share[name] for name in losses)
        for k, parameter in enumerate(parameters):
            shared = sum(id(parameter) in each for each in reached.values()) > 1
            parts = [
                (share[n] / total if shared else 1.0) * g[k] for n, g in found.items() if g[k] is not None
            ]
            parameter.grad = sum(parts[1:], parts[0]) if parts else None
        optimizer.step()
        optimizer.zero_grad()
    return module
