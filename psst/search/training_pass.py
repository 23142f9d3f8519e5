"""`training_step` of any module on some batches without training: losses in evaluation mode, statistics."""

import functools
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch.nn.modules.batchnorm import _BatchNorm

from psst.callbacks.wrapping import read_losses
from psst.search.explore import State
from psst.search.keyed_loader import KeyedLoader, one_loader
from psst.search.python_run import PythonRun

__all__ = ["training_pass"]

HOOKS = ("epoch_start", "batch_start", "batch_end", "epoch_end", "end")


def training_pass(
    run: PythonRun,
    module: LightningModule,
    start: int,
    count: int,
    state: State | None = None,
    renew: bool = False,
) -> tuple[list[str], NDArray[np.float64]]:
    """Take the named losses of a module on training batches, in evaluation mode and without gradients.

    Lightning's validation loop carries the batches, so that devices, precision and transfer hooks are those
    of training; the module's own validation hooks and the run's callbacks stay silent.

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
    step = module.training_step

    @functools.wraps(step)  # Lightning reads the signature
    def validation_step(*args: Any, **kwargs: Any) -> None:
        losses = named_losses(step(*args, **kwargs), module)
        names[:] = losses
        rows.append([float(loss) for loss in losses.values()])

    def begin() -> None:
        if state is not None:
            module.load_state_dict(state)
        if renew:
            renew_norms(module)

    for hook in HOOKS:
        setattr(module, f"on_validation_{hook}", _nothing)
    module.on_validation_start = begin  # type: ignore[method-assign]  # on the instance
    module.validation_step = validation_step  # type: ignore[method-assign]  # on it
    data = run.plain_datamodule()
    loader = data.train_dataloader
    data.val_dataloader = lambda: FreshBatches(loader(), run.seed, start, count)  # type: ignore[method-assign]  # on it
    trainer = run.measuring(callbacks=[], inference_mode=False, limit_val_batches=count)
    trainer.validate(module, datamodule=data, verbose=False)
    if len(rows) < count:
        raise ValueError(
            f"`train_dataloader` of {type(data).__name__} gave {len(rows)} batches of {count}; "
            "look at its data set and `drop_last`."
        )
    return names, np.array(rows)


def named_losses(output: object, module: LightningModule) -> dict[str, torch.Tensor]:
    """Read the losses as PSSTCallback does, those given as functions evaluated."""
    if isinstance(output, Mapping) and isinstance(output.get("losses"), Mapping):
        losses = {name: loss() if callable(loss) else loss for name, loss in output["losses"].items()}
        output = {**output, "losses": losses}
    return read_losses(output, module)


def renew_norms(module: LightningModule) -> None:
    """Let BatchNorm average over the coming batches, everything else being in evaluation mode."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            layer.reset_running_stats()
            layer.momentum = None  # the cumulative average
            layer.train()


class FreshBatches:
    """The first batches of passes over a loader that training has not made.

    Args:
        loader: As `train_dataloader` gives it.
        seed: Of the run.
        start: Key of the passes.
        count: Number of batches.
    """

    def __init__(self, loader: Any, seed: int, start: int, count: int) -> None:
        self._loader = one_loader(loader)
        self._seed, self._start, self._count = seed, start, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return islice(self._passes(), self._count)

    def _passes(self) -> Iterator[Any]:
        number = 0
        while True:
            stream = f"fresh {self._start} {number}"
            found = False
            for batch in KeyedLoader(self._loader, self._seed, stream, lambda: 0):
                found = True
                yield batch
            if not found:
                return
            number += 1


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a hook."""
