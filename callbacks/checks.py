"""What is refused before the first batch, with the reason and the way out."""

import difflib
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy


def refuse_unsupported(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Stop before training where the gradient of each task cannot be had or would not be used.

    Raises:
        TypeError: Manual optimization, a strategy that shards parameters, or a compiled LightningModule.
    """
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


def refuse_unknown(shared: Sequence[str], names: Sequence[str]) -> None:
    """ValueError where `shared` names no parameter, of all `names`, and no module that holds one."""
    modules = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
    for wanted in shared:
        if wanted not in modules:
            near = difflib.get_close_matches(wanted, sorted(modules), n=3, cutoff=0.3) or sorted(modules)[:3]
            raise ValueError(
                f"`shared` names {wanted!r}, which is no parameter and holds none; nearest are {near}."
            )
