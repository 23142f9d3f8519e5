"""`training_step` of any module on some training batches, without training."""

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from psst.callbacks.wrapping import read_losses
from psst.search.judge import State
from psst.search.keyed_loader import KeyedLoader, one_loader
from psst.search.python_run import PythonRun

_HOOKS = ("epoch_start", "batch_start", "batch_end", "epoch_end", "end")


def on_training_batches(
    run: PythonRun,
    module: LightningModule,
    count: int,
    each: Callable[[Callable[[], dict[str, Tensor]]], object],
    begin: Callable[[], object] = lambda: None,
) -> None:
    """Give `each` a function that computes the named losses of a training batch, batch by batch.

    Lightning's validation loop carries the batches, so that devices, precision and transfer hooks are those
    of training; the module's own validation hooks and the run's callbacks stay silent, and the module is in
    evaluation mode.

    Args:
        run: Gives trainer and data; the batches are shuffled and augmented anew, the same at every call.
        module: A fresh one, of no use for anything else afterwards.
        count: Batches; a shorter loader is gone through again.
        each: Called for each batch.
        begin: Called when the module stands on its device.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    step, seen = module.training_step, []

    @functools.wraps(step)  # Lightning reads the signature
    def validation_step(*args: Any, **kwargs: Any) -> None:
        seen.append(True)
        with torch.enable_grad():
            each(lambda: _named_losses(step(*args, **kwargs), module))

    for hook in _HOOKS:
        setattr(module, f"on_validation_{hook}", _nothing)
    module.on_validation_start = begin  # type: ignore[method-assign,assignment]  # on the instance
    module.validation_step = validation_step  # type: ignore[method-assign]  # on it
    data = run.plain_datamodule()
    loader = data.train_dataloader
    data.val_dataloader = lambda: _FreshBatches(loader(), run.seed, count)  # type: ignore[method-assign]  # on it
    trainer = run.measuring(callbacks=[], inference_mode=False, limit_val_batches=count)
    trainer.validate(module, datamodule=data, verbose=False)
    if len(seen) < count:
        raise ValueError(
            f"`train_dataloader` of {type(data).__name__} gave {len(seen)} batches of {count}; "
            "look at its data set and `drop_last`."
        )


def renewed(run: PythonRun, state: State, count: int) -> State:
    """Return the state with BatchNorm statistics averaged over `count` training batches."""
    if not any(name.endswith("running_mean") for name in state):
        return state
    module = run.module()

    def begin() -> None:
        module.load_state_dict(state)
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.track_running_stats:
                layer.reset_running_stats()
                layer.momentum = None  # the cumulative average
                layer.train()

    on_training_batches(run, module, count, torch.no_grad()(lambda compute: compute()), begin)
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}


def _named_losses(output: object, module: LightningModule) -> dict[str, Tensor]:
    """Read the losses as PSSTCallback does, those given as functions evaluated."""
    if isinstance(output, Mapping) and isinstance(output.get("losses"), Mapping):
        losses = {name: loss() if callable(loss) else loss for name, loss in output["losses"].items()}
        output = {**output, "losses": losses}
    return read_losses(output, module)


class _FreshBatches:
    """`count` batches from passes over a loader that training has not made."""

    def __init__(self, loader: Any, seed: int, count: int) -> None:
        self._loader = one_loader(loader)
        self._seed, self._count = seed, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return islice(self._passes(), self._count)

    def _passes(self) -> Iterator[Any]:
        number, found = 0, True
        while found:
            found = False
            for batch in KeyedLoader(self._loader, self._seed, f"fresh {number}", lambda: 0):
                found = True
                yield batch
            number += 1


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a hook."""
