"""Losses of fixed batches that can be differentiated twice, for any module: the tangent's view of a run."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.seed import isolate_rng
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from psst.episodes import Batch
from psst.pareto.curvature import BatchLosses
from psst.randomness import stream_key
from psst.search.explore import State
from psst.search.keyed_loader import seed_global
from psst.search.python_run import PythonRun
from psst.search.training_pass import HOOKS, FreshBatches, named_losses
from psst.training import FewShotModule

__all__ = ["GraphJudge", "Work", "on_episodes", "on_training_batches", "twice_differentiable", "work_on"]

T = TypeVar("T")
Work = Callable[[LightningModule, list[list[BatchLosses]]], T]
"""What is to be done with a module in evaluation mode and its losses on some sets of fixed batches."""


class GraphJudge(Protocol):
    """What the tangent asks of a judge."""

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: Work[T]) -> T:
        """Return what `work` makes of a model and its losses on `count` batches of each start.

        The batches are those of `fresh_losses`; sets of different starts are drawn independently, or share
        nothing of a stream without end. Each function gives the same losses, main first, with their
        graphs at every call: evaluation mode, running BatchNorm statistics, no dropout, nothing compiled,
        float32 at least, and the same random numbers.
        """

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same batches, `start` and the following, in eval mode."""

    def recalibrated(self, state: State, start: int, count: int) -> State:
        """Renew the BatchNorm statistics of `state` on `count` batches from `start` on."""


def work_on(
    module: LightningModule, losses: Sequence[Sequence[Callable[[], Sequence[torch.Tensor]]]], work: Work[T]
) -> T:
    """Do the work with losses that draw the same random numbers at every call.

    Args:
        module: Loaded, in evaluation mode, of no use for anything else afterwards.
        losses: One function a batch, in sets.
        work: Gets them.
    """

    def fixed(part: int, number: int, function: Callable[[], Sequence[torch.Tensor]]) -> BatchLosses:
        def draw() -> Sequence[torch.Tensor]:
            with isolate_rng():
                seed_global(stream_key("tangent", part, number))
                return function()

        return draw

    module.log = module.log_dict = _nothing  # type: ignore[method-assign]  # on the instance
    with twice_differentiable(module):
        return work(
            module,
            [
                [fixed(part, number, function) for number, function in enumerate(functions)]
                for part, functions in enumerate(losses)
            ],
        )


def on_episodes(module: FewShotModule, state: State, episodes: Sequence[Sequence[Batch]], work: Work[T]) -> T:
    """`GraphJudge.on_batches` for few-shot models.

    Args:
        module: Built for the episodes' images.
        state: To load.
        episodes: In sets, on the module's device.
        work: Gets the module and its losses.
    """
    module.load_state_dict(state)
    module.eval()

    def losses(episode: Batch) -> Callable[[], Sequence[torch.Tensor]]:
        return lambda: list(module.task_losses(episode).values())

    return work_on(module, [[losses(episode) for episode in part] for part in episodes], work)


def on_training_batches(run: PythonRun, state: State, starts: Sequence[int], count: int, work: Work[T]) -> T:
    """`GraphJudge.on_batches` for any module: by its own `training_step`, as `training_pass` carries it.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    module = run.module()
    step, held, done, total = module.training_step, [], [], count * len(starts)

    @functools.wraps(step)  # Lightning reads the signature
    def validation_step(*args: Any, **kwargs: Any) -> None:
        held.append(lambda: list(named_losses(step(*args, **kwargs), module).values()))
        if len(held) == total:  # here, for the module leaves its device when the loop ends
            parts = [held[first : first + count] for first in range(0, total, count)]
            done.append(work_on(module, parts, work))

    for hook in HOOKS:
        setattr(module, f"on_validation_{hook}", _nothing)
    module.on_validation_start = lambda: module.load_state_dict(state)  # type: ignore[method-assign]  # on it
    module.validation_step = validation_step  # type: ignore[method-assign]  # on it
    data = run.plain_datamodule()
    loader = data.train_dataloader
    data.val_dataloader = lambda: Chained(  # type: ignore[method-assign]  # on it
        [FreshBatches(loader(), run.seed, start, count) for start in starts]
    )
    precise = {} if str(run.trainer_arguments.get("precision", 32)).startswith("64") else {"precision": 32}
    trainer = run.measuring(callbacks=[], inference_mode=False, limit_val_batches=total, **precise)
    trainer.validate(module, datamodule=data, verbose=False)
    if not done:
        raise ValueError(
            f"`train_dataloader` of {type(data).__name__} gave {len(held)} batches of {total}; "
            "look at its data set and `drop_last`."
        )
    return done[0]


class Chained:
    """Loaders one after the other.

    Args:
        loaders: With a length each.
    """

    def __init__(self, loaders: Sequence[FreshBatches]) -> None:
        self._loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self._loaders)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._loaders)


@contextmanager
def twice_differentiable(module: nn.Module) -> Iterator[None]:
    """Keep to kernels that have second derivatives: nothing compiled, plain attention, plain recurrence."""
    with ExitStack() as contexts:
        contexts.enter_context(torch.enable_grad())
        contexts.enter_context(torch.compiler.set_stance("force_eager"))
        contexts.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(layer, nn.RNNBase) for layer in module.modules()):
            contexts.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a hook, or for a logger."""
