"""What is refused before the first batch, with the reason and the way out."""

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
