"""Standing between Lightning and a module's ``training_step``: what is wrapped and read."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch._functorch.config
from torch import Tensor

from psst.pareto.task_gradients import Loss, scalar

_CONVENTION = (
    'return {"loss": sum(losses.values()), "losses": {"main": ..., "other": ...}} from `training_step`'
)


def read_losses(output: object, module: pl.LightningModule) -> dict[str, Tensor]:
    """The named losses of one ``training_step`` as scalar tensors, ``main`` first; else TypeError."""
    losses = read_lazy_losses(output, module)
    return {name: loss if isinstance(loss, Tensor) else loss() for name, loss in losses.items()}


def read_lazy_losses(output: object, module: pl.LightningModule) -> dict[str, Loss]:
    """As `read_losses`, functions left uncalled: each checks what it gives. A loss of None is absent."""
    step = f"`training_step` of {type(module).__name__}"
    losses = output.get("losses") if isinstance(output, Mapping) else None
    if not isinstance(losses, Mapping):
        found = (
            f"dict with {sorted(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__
        )
        raise TypeError(
            f"PSSTCallback reads `losses`, which {step} lacks (it gave a {found}); {_CONVENTION}."
        )
    order = sorted(losses, key=lambda name: name != "main")  # stable: the others keep their order
    return {name: _lazy(losses[name], name, f" of {step}") for name in order if losses[name] is not None}


def _lazy(loss: object, name: str, source: str) -> Loss:
    return (lambda: scalar(loss(), name, source)) if callable(loss) else scalar(loss, name, source)


class WrappedStep:
    """``training_step`` of one module with a function of its output behind it, until `restore`.

    It is replaced on the instance; signature and name are kept for Lightning. Another wrapper put on later is
    left in place by `restore`; this one then passes through. Copies of the module, pickled or not, have the
    module's own step.
    """

    def __init__(self, module: pl.LightningModule, transform: Callable[[Any], Any]) -> None:
        self._module = module
        self._own = module.__dict__.get("training_step")  # on the instance already: somebody else's wrapper
        self._transform: Callable[[Any], Any] | None = transform
        self._step = module.training_step
        functools.update_wrapper(self, self._step)
        self.__code__ = getattr(self._step, "__code__", None)  # Lightning asks a wrapper of this for it
        module.training_step = self  # type: ignore[method-assign]  # on the instance

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Take the step and transform what it gave."""
        with torch._functorch.config.patch(donated_buffer=False):  # inductor: shared graphs pass twice
            output = self._step(*args, **kwargs)  # compiles
            return output if self._transform is None else self._transform(output)  # a cache's copy asks again

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What a copy of the module has in place of this."""
        return _own_step, (self._module, self._own)

    def restore(self) -> None:
        """Give the module its own ``training_step`` back; harmless when done twice."""
        self._transform = None
        if self._module.__dict__.get("training_step") is not self:
            return
        if self._own is None:
            del self._module.training_step
        else:
            self._module.training_step = self._own


def _own_step(module: pl.LightningModule, own: Callable[..., Any] | None) -> Callable[..., Any]:
    step: Callable[..., Any] = type(module).training_step.__get__(module) if own is None else own
    return step
