"""What is refused before the first batch, with the reason and the way out."""

import difflib
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

_KNOWN = {"scope": ("parameters", "last_block"), "accumulate": ("micro_batch", "window")}


def refuse_arguments(scope: str, shared: object, accumulate: str, main: object) -> None:
    """ValueError where an argument of PSSTCallback is none of those known, or two do not go together."""
    for argument, value in {"scope": scope, "accumulate": accumulate}.items():
        if value not in _KNOWN[argument]:
            raise ValueError(f"`{argument}={value!r}` must be one of {list(_KNOWN[argument])}.")
    listed = isinstance(shared, Sequence) and not isinstance(shared, str) and len(shared) > 0
    if shared is not None and not (listed and all(isinstance(name, str) for name in shared)):  # type: ignore[attr-defined]  # a sequence
        raise ValueError(
            f"`shared={shared!r}` must be a list of names of parameters or modules, such as "
            "`['backbone']`; leave it out to find the shared parameters from the graphs."
        )
    if main is not None and not isinstance(main, str):
        raise ValueError(f"`main={main!r}` must be the name of a loss.")
    if accumulate == "window" and scope != "parameters":
        raise ValueError(
            f"`accumulate='window'` sums gradients over batches, but `scope={scope!r}` needs the graph of "
            "each batch once the weights are known; use `scope='parameters'` or `accumulate='micro_batch'`."
        )


def refuse_unknown(shared: Sequence[str], names: Sequence[str]) -> None:
    """ValueError where `shared` names no parameter, of all `names`, and no module that holds one."""
    parts = [name.split(".") for name in names]
    modules = {".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}
    for wanted in shared:
        if wanted not in modules:
            known = sorted(modules)
            near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3) or known[:3]
            raise ValueError(
                f"`shared` names {wanted!r}, which is no parameter and holds none; nearest are {near}."
            )


def refuse_unsupported(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """TypeError for manual optimization, a strategy that shards parameters, or a compiled LightningModule."""
    name = type(module).__name__
    if not module.automatic_optimization:
        raise TypeError(
            f"PSSTCallback gives automatic optimization the gradient to use, but {name} sets "
            "`automatic_optimization = False`; remove that, or call `psst.weighted_backward(losses)` in "
            "place of `manual_backward`."
        )
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        raise TypeError(
            "PSSTCallback needs whole parameters on every rank, but "
            f"`trainer.strategy` is {type(trainer.strategy).__name__}, which shards them; use `ddp`."
        )
    if module._compiler_ctx is not None:
        raise TypeError(
            f"PSSTCallback needs one graph a task, but {name} went through `torch.compile` as a whole, which "
            "makes one node of all losses; compile the backbone inside it instead."
        )


def refuse_optimizers(trainer: pl.Trainer) -> None:
    """TypeError for LBFGS, which compares values of the loss: they are not those of the weighted gradient."""
    for optimizer in trainer.optimizers:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise TypeError(
                "PSSTCallback weights gradients anew whenever `training_step` runs, but "
                f"{type(optimizer).__name__} runs it several times a step and compares loss values; use a "
                "first-order optimizer such as Adam or SGD."
            )
