"""A compiled backbone and gradient checkpointing under PSSTCallback equal the plain loop by hand."""

import shutil

import pytest
import pytorch_lightning as pl
import torch
from by_hand import ROUNDING, assert_parity, fit
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from psst.callbacks import PSSTCallback
from psst.pareto import FixedWeights

COMPILER = pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
BACKENDS = ["aot_eager", pytest.param("inductor", marks=[COMPILER, pytest.mark.slow])]


class Backbone(pl.LightningModule):
    """A trunk of its own, which a subclass may wrap; one forward a task of its own view, or one for all.

    Args:
        shared_forward: One forward for both tasks.
    """

    def __init__(self, shared_forward=False):
        super().__init__()
        torch.manual_seed(0)
        self.shared_forward = shared_forward
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 5))
        self.heads = nn.ModuleDict({name: nn.Linear(5, 2) for name in ("main", "other")})

    def features(self, x):
        return self.trunk(x)

    def training_step(self, batch, batch_idx):
        (x,) = batch
        common = self.features(x) if self.shared_forward else None
        losses = {}
        for shift, (name, head) in enumerate(self.heads.items()):
            features = self.features(x.roll(shift, dims=1)) if common is None else common
            losses[name] = F.mse_loss(head(features), torch.full((len(x), 2), 1.0 + shift)) + 0.1
        return {"loss": sum(losses.values()), "losses": losses}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Compiled(Backbone):
    def __init__(self, shared_forward, backend):
        super().__init__(shared_forward)
        self.compiled = [torch.compile(self.trunk, backend=backend)]  # in a list: not registered twice

    def features(self, x):
        return self.compiled[0](x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shared_forward", [False, True])
def test_compiled_backbone(shared_forward, backend):
    torch._dynamo.reset()
    assert_parity(
        lambda: Compiled(shared_forward, backend),
        reference=lambda: Backbone(shared_forward),
        tolerance=2 * ROUNDING,
    )


class Checkpointed(Backbone):
    use_reentrant = False

    def features(self, x):
        return checkpoint(self.trunk, x, use_reentrant=self.use_reentrant)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("shared_forward", [False, True])
def test_gradient_checkpointing(shared_forward, accumulate):
    assert_parity(
        lambda: Checkpointed(shared_forward),
        reference=lambda: Backbone(shared_forward),
        by_hand={"accumulate": accumulate},
        accumulate_grad_batches=accumulate,
    )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_refused_before_an_update():
    class Reentrant(Checkpointed):
        use_reentrant = True

        def features(self, x):
            return super().features(x.requires_grad_())

    module = Reentrant()
    with pytest.raises(ValueError, match="pass `use_reentrant=False`"):
        fit(module, PSSTCallback(FixedWeights(1.0)))
    start = Backbone().state_dict()
    assert all(torch.equal(start[name], value) for name, value in module.state_dict().items())
