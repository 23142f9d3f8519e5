"""Losses that can be differentiated twice: few-shot models, compiled parts, recurrence, three tasks."""

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.nn import functional as F

from psst.backbones import Conv4
from psst.episodes import Batch, EpisodeShape
from psst.fewshot import PrototypicalHead
from psst.search.training_pass import on_training_batches, work_on
from psst.tangents.curvature import WeightedHessian
from psst.tangents.front_gradients import front_gradients
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule
from tests.search.tangents.competing import Conflict, Rotated, make_run


def episode(index, way=3, shot=1, query=2, size=16):
    rng = torch.Generator().manual_seed(index)
    pixels = torch.randint(0, 256, (way * (shot + query), 3, size, size), dtype=torch.uint8, generator=rng)
    targets = torch.cat([torch.arange(way).repeat_interleave(count) for count in (shot, query)])
    return Batch(
        torch.arange(len(pixels)), targets, index, EpisodeShape(1, way, shot, query), targets, pixels=pixels
    )


def test_the_hessian_of_a_few_shot_model_is_that_of_its_gradients_change():
    """Against differences of gradients; in float64, evaluation mode, statistics untouched."""
    torch.manual_seed(0)
    module = FewShotModule(
        Conv4(8), Episodic(PrototypicalHead()), [Rotation()], image_shape=(3, 16, 16)
    ).double()
    state = {name: value.clone() for name, value in module.state_dict().items()}

    def work(module, batches):
        parameters = list(module.parameters())
        hessian = WeightedHessian(batches[0] + batches[1], parameters, [0.6, 0.4])
        vector = torch.randn(sum(p.numel() for p in parameters), dtype=torch.float64)
        vector /= vector.norm()
        product, sides, reach = hessian(vector), [], 1e-6
        for sign in (1.0, -2.0):
            move(parameters, sign * reach * vector)
            gradients = front_gradients(batches, parameters).jacobian
            sides.append(torch.tensor([0.6, 0.4], dtype=torch.float64) @ gradients)
        move(parameters, reach * vector)
        difference = (sides[0] - sides[1]) / (2 * reach)
        assert (product - difference).norm() < 1e-4 * difference.norm()
        return {name: value.clone() for name, value in module.state_dict().items()}

    module.load_state_dict(state)
    module.eval()
    sets = [[lambda drawn=drawn: list(module.task_losses(drawn).values())] for drawn in map(episode, (0, 1))]
    after = work_on(module, sets, work)
    buffers = [name for name in state if "running" in name or "tracked" in name]
    assert buffers
    assert all(torch.equal(after[name], state[name]) for name in buffers)


def move(parameters, vector):
    parts = torch.split(vector, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter))


class Compiled(Conflict):
    """A trunk that goes through the compiler, whose backward has no derivative."""

    def __init__(self):
        super().__init__()
        self.fast = torch.compile(self.trunk, backend="aot_eager")

    def losses(self, batch):
        x, y = batch
        features = self.fast(x)
        return {
            name: F.mse_loss(self.heads[name](features), y[:, 2 * place : 2 * place + 2])
            for place, name in enumerate(self.names)
        }


class Recurrent(Conflict):
    """Recurrent and attending layers, whose quick kernels can be differentiated once."""

    def __init__(self):
        super().__init__()
        self.memory = nn.GRU(1, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def losses(self, batch):
        x, y = batch
        steps, _ = self.memory(x[:, :, None])
        seen, _ = self.attention(steps, steps, steps, need_weights=False)
        return {
            name: (seen.mean(dim=(1, 2)) - y[:, place]).square().mean()
            for place, name in enumerate(self.names)
        }


@pytest.mark.parametrize("factory", [Compiled, Recurrent])
def test_nothing_but_kernels_with_second_derivatives_is_used(factory):
    run = make_run(factory, Rotated(n=32, batch=16))

    def work(module, batches):
        parameters = [p for p in module.parameters() if p.requires_grad]
        vector = torch.ones(sum(p.numel() for p in parameters))
        return WeightedHessian(batches[0], parameters, [0.5, 0.5])(vector)

    product = on_training_batches(run, run.module().state_dict(), [0], 2, work)
    assert product.isfinite().all()
    assert product.any()


class Remembering(LightningModule):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(1, 1)


def test_the_way_back_is_as_it_was():
    def work(module, batches):
        return torch.backends.cudnn.enabled, torch.is_grad_enabled()

    assert work_on(Remembering(), [], work) == (False, True)
    assert torch.backends.cudnn.enabled


def test_three_tasks_give_three_rows():
    run = make_run(lambda: Conflict(("main", "other", "third"), hidden=3))

    def work(module, batches):
        return front_gradients(batches, list(module.parameters()))

    found = on_training_batches(run, run.module().state_dict(), [0, 9], 4, work)
    assert found.losses[1].shape == (4, 3)
    assert found.gramian.shape == (3, 3)
    assert np.linalg.eigvalsh(found.gramian).min() > -1e-9
