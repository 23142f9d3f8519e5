"""`training_step` of any module on some training batches, without training."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from psst.callbacks.wrapping import read_losses
from psst.search.judge import State
from psst.search.python_run import PythonRun

Compute = Callable[[], dict[str, Tensor]]


def on_training_batches(
    run: PythonRun, module: LightningModule, count: int, each: Callable[[Compute], object]
) -> None:
    """Give `each` a function that computes the named losses of a training batch, batch by batch.

    A fit whose steps give no loss carries the batches: devices, precision, transfer hooks and random numbers
    are those of training, and nothing is trained. The run's callbacks stay silent, and the module is in
    evaluation mode.

    Args:
        run: Gives trainer and data; the batches are the same at every call, and no training sees them so.
        module: A fresh one, of no use for anything else afterwards.
        count: Batches; a shorter loader is gone through again.
        each: Called for each batch.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    step, seen = module.training_step, []

    @functools.wraps(step)  # Lightning reads the signature
    def training_step(*args: Any, **kwargs: Any) -> None:
        seen.append(each(lambda: read_losses(step(*args, **kwargs), module)))

    module.eval()
    module.training_step = training_step  # type: ignore[method-assign]  # on the instance
    data = run.datamodule()
    data.psst_stream = "fresh"  # type: ignore[attr-defined]  # see PythonRun
    fit = {"max_steps": count, "accumulate_grad_batches": 1, "limit_val_batches": 0}
    run.measuring(callbacks=[], **fit).fit(module, datamodule=data)
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
    layers = {n: m for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}

    @torch.no_grad()
    def look_at(compute: Compute) -> None:
        if not loaded:
            loaded.append(module.load_state_dict(state))
            for layer in layers.values():
                layer.reset_running_stats()
                layer.momentum = None  # the cumulative average
                layer.train()
        compute()

    loaded: list[object] = []
    on_training_batches(run, module, count, look_at)
    own = {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_buffers()}
    return {key: own.get(key, value).detach().cpu().clone() for key, value in state.items()}
