"""Standing between Lightning and a module's ``training_step``: what is refused, wrapped and read."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor

_CONVENTION = (
    'return {"loss": sum(losses.values()), "losses": {"main": ..., "other": ...}} from `training_step`'
)


def refuse_unsupported(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Stop before training where the gradient of each task cannot be had or would not be used.

    Raises:
        TypeError: Manual optimization, a strategy that shards parameters, or a compiled LightningModule.
    """
    name = type(module).__name__
    if not module.automatic_optimization:
        raise TypeError(
            f"PSSTCallback gives automatic optimization the gradient to use, but {name} sets "
            "`automatic_optimization = False`; remove that, or train without PSSTCallback."
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


def read_losses(output: object, module: pl.LightningModule) -> dict[str, Tensor]:
    """The named losses of one ``training_step``, ``main`` first where there is one.

    Raises:
        TypeError: There are none, or one is no scalar tensor.
    """
    step = f"`training_step` of {type(module).__name__}"
    losses = output.get("losses") if isinstance(output, Mapping) else None
    if not isinstance(losses, Mapping):
        found = (
            f"a dict with {sorted(map(str, output))}"
            if isinstance(output, Mapping)
            else type(output).__name__
        )
        raise TypeError(
            f"PSSTCallback reads `losses`, which {step} lacks (it gave a {found}); {_CONVENTION}."
        )
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(
                f"`losses['{name}']` of {step} must be a scalar tensor, found {found}; take its mean."
            )
    order = sorted(losses, key=lambda name: name != "main")  # stable: the others keep their order
    return {name: losses[name] for name in order}


class WrappedStep:
    """``training_step`` of one module with a function of its output behind it, until `restore`.

    Another wrapper put on later is left in place by `restore`; this one then passes through.

    Args:
        module: Its ``training_step`` is replaced on the instance; signature and name are kept for Lightning.
        transform: From what ``training_step`` gave to what Lightning gets.
    """

    def __init__(self, module: pl.LightningModule, transform: Callable[[Any], Any]) -> None:
        self._module = module
        self._own = module.__dict__.get("training_step")  # on the instance already: somebody else's wrapper
        self._active = True
        original = module.training_step

        @functools.wraps(original)
        def training_step(*args: object, **kwargs: object) -> Any:
            output = original(*args, **kwargs)
            return transform(output) if self._active else output

        self._wrapper = training_step
        module.training_step = training_step  # type: ignore[method-assign]

    def restore(self) -> None:
        """Give the module its own ``training_step`` back; harmless when done twice."""
        self._active = False
        if self._module.__dict__.get("training_step") is not self._wrapper:
            return
        if self._own is None:
            del self._module.training_step
        else:
            self._module.training_step = self._own  # type: ignore[method-assign]
