"""`training_step` of any module on some batches without training: losses in evaluation mode, statistics."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from psst.callbacks.wrapping import read_losses
from psst.randomness import stream_key
from psst.search.explore import State
from psst.search.keyed_loader import KeyedLoader, one_loader, seed_global
from psst.search.protocols import BatchWork, T
from psst.search.python_run import PythonRun
from psst.tangents.curvature import BatchLosses

_HOOKS = ("epoch_start", "batch_start", "batch_end", "epoch_end", "end")


def training_pass(
    run: PythonRun,
    module: LightningModule,
    start: int,
    count: int,
    state: State | None = None,
    renew: bool = False,
) -> tuple[list[str], NDArray[np.float64]]:
    """Take the named losses of a module on training batches, in evaluation mode and without gradients.

    Args:
        run: Gives trainer and data; the batches are those of the datamodule's training loader, shuffled and
            augmented anew by a key of `start`, and the same for every module.
        module: A fresh one, of no use for anything else afterwards.
        start: Key of the batches.
        count: How many; a shorter loader is gone through again.
        state: Parameters and buffers to load once the module has been set up.
        renew: Replace BatchNorm's running statistics by their average over the batches.

    Returns:
        Names of the losses, main first, and their values ``[count, m]``.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    names: list[str] = []
    rows: list[list[float]] = []

    def begin() -> None:
        if state is not None:
            module.load_state_dict(state)
        if renew:
            _renew_norms(module)

    def measure(compute: Callable[[], dict[str, Tensor]]) -> None:
        losses = compute()
        names[:] = losses
        rows.append([float(loss) for loss in losses.values()])

    _carry(run, module, [start], count, begin, measure)
    return names, np.array(rows)


def on_training_batches(
    run: PythonRun, state: State, starts: Sequence[int], count: int, work: BatchWork[T]
) -> T:
    """`Judge.on_batches` for any module: by its own `training_step`, as `training_pass` carries it.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    module = run.module()
    held: list[Callable[[], list[Tensor]]] = []
    done: list[T] = []

    def hold(compute: Callable[[], dict[str, Tensor]]) -> None:
        held.append(lambda: list(compute().values()))
        if len(held) == count * len(starts):  # here, for the module leaves its device when the loop ends
            done.append(work_on(module, [held[i : i + count] for i in range(0, len(held), count)], work))

    precise = {} if str(run.trainer_arguments.get("precision", 32)).startswith("64") else {"precision": 32}
    _carry(run, module, starts, count, lambda: module.load_state_dict(state), hold, **precise)
    return done[0]


def work_on(
    module: LightningModule, losses: Sequence[Sequence[Callable[[], Sequence[Tensor]]]], work: BatchWork[T]
) -> T:
    """Do the work with losses that draw the same random numbers at every call."""

    def fixed(part: int, number: int, function: Callable[[], Sequence[Tensor]]) -> BatchLosses:
        def draw() -> Sequence[Tensor]:
            with isolate_rng():
                seed_global(stream_key("tangent", part, number))
                return function()

        return draw

    module.log = module.log_dict = _nothing  # type: ignore[method-assign]  # on the instance
    sets = [
        [fixed(part, number, function) for number, function in enumerate(functions)]
        for part, functions in enumerate(losses)
    ]
    with _twice_differentiable(module):
        return work(module, sets)


def _carry(
    run: PythonRun,
    module: LightningModule,
    starts: Sequence[int],
    count: int,
    begin: Callable[[], object],
    each: Callable[[Callable[[], dict[str, Tensor]]], None],
    **changes: Any,
) -> None:
    """Give `each` a function that computes the losses of a training batch, batch by batch.

    Lightning's validation loop carries the batches, so that devices, precision and transfer hooks are those
    of training; the module's own validation hooks and the run's callbacks stay silent.
    """
    step, total, seen = module.training_step, count * len(starts), []

    @functools.wraps(step)  # Lightning reads the signature
    def validation_step(*args: Any, **kwargs: Any) -> None:
        seen.append(True)
        each(lambda: _named_losses(step(*args, **kwargs), module))

    for hook in _HOOKS:
        setattr(module, f"on_validation_{hook}", _nothing)
    module.on_validation_start = begin  # type: ignore[method-assign,assignment]  # on the instance
    module.validation_step = validation_step  # type: ignore[method-assign]  # on it
    data = run.plain_datamodule()
    loader = data.train_dataloader
    data.val_dataloader = lambda: _FreshBatches(loader(), run.seed, starts, count)  # type: ignore[method-assign]  # on it
    trainer = run.measuring(callbacks=[], inference_mode=False, limit_val_batches=total, **changes)
    trainer.validate(module, datamodule=data, verbose=False)
    if len(seen) < total:
        raise ValueError(
            f"`train_dataloader` of {type(data).__name__} gave {len(seen)} batches of {total}; "
            "look at its data set and `drop_last`."
        )


def _named_losses(output: object, module: LightningModule) -> dict[str, Tensor]:
    """Read the losses as PSSTCallback does, those given as functions evaluated."""
    if isinstance(output, Mapping) and isinstance(output.get("losses"), Mapping):
        losses = {name: loss() if callable(loss) else loss for name, loss in output["losses"].items()}
        output = {**output, "losses": losses}
    return read_losses(output, module)


def _renew_norms(module: LightningModule) -> None:
    """Let BatchNorm average over the coming batches, everything else being in evaluation mode."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            layer.reset_running_stats()
            layer.momentum = None  # the cumulative average
            layer.train()


@contextmanager
def _twice_differentiable(module: nn.Module) -> Iterator[None]:
    """Keep to kernels that have second derivatives: nothing compiled, plain attention, plain recurrence."""
    with ExitStack() as contexts:
        contexts.enter_context(torch.enable_grad())
        contexts.enter_context(torch.compiler.set_stance("force_eager"))
        contexts.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(layer, nn.RNNBase) for layer in module.modules()):
            contexts.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


class _FreshBatches:
    """`count` batches for each of `starts`, from passes over a loader that training has not made."""

    def __init__(self, loader: Any, seed: int, starts: Sequence[int], count: int) -> None:
        self._loader = one_loader(loader)
        self._seed, self._starts, self._count = seed, starts, count

    def __len__(self) -> int:
        return self._count * len(self._starts)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(islice(self._passes(start), self._count) for start in self._starts)

    def _passes(self, start: int) -> Iterator[Any]:
        number, found = 0, True
        while found:
            found = False
            for batch in KeyedLoader(self._loader, self._seed, f"fresh {start} {number}", lambda: 0):
                found = True
                yield batch
            number += 1


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a hook, or for a logger."""
