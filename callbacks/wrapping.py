"""Standing between Lightning and a module's ``training_step``: what is wrapped and read."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch._functorch.config
from torch import Tensor

from psst.pareto.task_gradients import Loss

_CONVENTION = (
    'return {"loss": sum(losses.values()), "losses": {"main": ..., "other": ...}} from `training_step`'
)


def read_losses(output: object, module: pl.LightningModule) -> dict[str, Tensor]:
    """The named losses of one ``training_step`` as tensors, ``main`` first where there is one.

    Raises:
        TypeError: There are none, or one is no scalar tensor and no function that gives one.
    """
    losses = read_lazy_losses(output, module)
    return {name: loss if isinstance(loss, Tensor) else loss() for name, loss in losses.items()}


def read_lazy_losses(output: object, module: pl.LightningModule) -> dict[str, Loss]:
    """As `read_losses`, with losses that are functions left uncalled; each checks what it gives.

    Raises:
        TypeError: There are none, or one is neither a scalar tensor nor a function.
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
    order = sorted(losses, key=lambda name: name != "main")  # stable: the others keep their order
    return {name: _lazy(losses[name], name, step) for name in order}


def _lazy(loss: object, name: str, step: str) -> Loss:
    return (lambda: _scalar(loss(), name, step)) if callable(loss) else _scalar(loss, name, step)


def _scalar(loss: object, name: str, step: str) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(
            f"`losses['{name}']` of {step} must be a scalar tensor, found {found}; take its mean."
        )
    return loss


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
            with torch._functorch.config.patch(donated_buffer=False):  # inductor: shared graphs pass twice
                output = original(*args, **kwargs)  # compiles
                return transform(output) if self._active else output  # what a cache held asks again

        self._wrapper = training_step
        module.training_step = training_step  # type: ignore[method-assign]  # on the instance

    def restore(self) -> None:
        """Give the module its own ``training_step`` back; harmless when done twice."""
        self._active = False
        if self._module.__dict__.get("training_step") is not self._wrapper:
            return
        if self._own is None:
            del self._module.training_step
        else:
            self._module.training_step = self._own  # type: ignore[method-assign]  # on the instance
