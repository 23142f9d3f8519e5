"""One gradient a task, each graph freed as soon as nobody needs it any more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from psst.pareto.graph import Walk, walk
from psst.pareto.injection import TaskGradient

#: A scalar loss, or a function that computes it with its whole graph.
Loss = Tensor | Callable[[], Tensor]


def task_gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[TaskGradient]:
    """Gradient of each loss with respect to every parameter it reaches.

    The graphs are walked first. A loss whose graph shares no node with a later one frees its graph at once,
    so that losses of separate forwards cost together one backward pass; a node that several losses share is
    kept exactly until the last of them has passed.

    Args:
        losses: Scalars, one a task. One without a graph (a constant) reaches nothing.
        parameters: Leaves to differentiate by, each once.

    Raises:
        ValueError: A graph goes through reentrant gradient checkpointing, which hides parameters.
    """
    where = {id(parameter): index for index, parameter in enumerate(parameters)}
    walks = [walk(loss) for loss in losses]
    reached = [positions(found, where) for found in walks]
    needed_later = [found.shares_with(walks[index + 1 :]) for index, found in enumerate(walks)]
    del walks  # it holds on to every node, and so to every saved activation
    return [
        gradient(loss, indices, parameters, keep)
        for loss, indices, keep in zip(losses, reached, needed_later, strict=True)
    ]


def interleaved_gradients(
    losses: Mapping[str, Loss], parameters: Sequence[Tensor], factor: Tensor | None = None
) -> tuple[list[Tensor], list[TaskGradient]]:
    """Values and gradients of losses of which some are functions: each is called, differentiated and freed.

    Never more than one function's graph is alive, so that the peak is that of the largest task. Losses given
    as tensors come first.

    Args:
        losses: By task name.
        parameters: Leaves to differentiate by, each once.
        factor: Of a gradient scaler; the gradients hold it.

    Returns:
        Detached values and gradients, in the order of `losses`.

    Raises:
        ValueError: A function's graph shares nodes with one that has been freed, or see `task_gradients`.
    """
    where = {id(parameter): index for index, parameter in enumerate(parameters)}
    ready = {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}
    values = {name: loss.detach() for name, loss in ready.items()}
    with full_precision(next(iter(values.values())).device if values else torch.device("cpu")):
        found = task_gradients([times(loss, factor) for loss in ready.values()], parameters)
    gradients = dict(zip(ready, found, strict=True))
    for name, function in losses.items():
        if isinstance(function, Tensor):
            continue
        loss = function()
        values[name] = loss.detach()
        with full_precision(loss.device):
            try:
                gradients[name] = gradient(
                    times(loss, factor), positions(walk(loss), where), parameters, keep=False
                )
            except RuntimeError as error:
                if "second time" not in str(error):
                    raise
                raise ValueError(
                    f"`losses['{name}']` is a function whose graph shares a part with a loss that has been "
                    "differentiated and freed before it; compute that part inside each function, or give the "
                    "losses as tensors."
                ) from error
        del loss
    return [values[name] for name in losses], [gradients[name] for name in losses]


def gradient(loss: Tensor, indices: Sequence[int], parameters: Sequence[Tensor], keep: bool) -> TaskGradient:
    """Gradient of one loss with respect to the parameters at `indices`; its graph is kept if asked for."""
    found: Sequence[Tensor] = ()
    inputs = [parameters[p] for p in indices]
    if inputs:
        with without_hooks(inputs):
            found = torch.autograd.grad(loss, inputs, retain_graph=keep, materialize_grads=True)
    return dict(zip(indices, found, strict=True))


def positions(found: Walk, where: Mapping[int, int]) -> list[int]:
    """Positions of the parameters among the leaves of a walk, ascending; `where` gives them by identity."""
    return sorted(where[leaf] for leaf in found.leaves if leaf in where)


def times(loss: Tensor, factor: Tensor | None) -> Tensor:
    """A loss times the factor of a gradient scaler, in float32: small gradients vanish in half precision."""
    return loss if factor is None else loss.float() * factor


def divide(gradients: Sequence[TaskGradient], factor: Tensor | None) -> None:
    """Take the factor out of gradients, in place of their entries."""
    if factor is None:
        return
    for entries in gradients:
        if entries:
            entries.update(zip(entries, torch._foreach_div(list(entries.values()), factor), strict=True))


@contextmanager
def without_hooks(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Take the users' hooks off parameters: they belong to the one gradient that is accumulated later."""
    hooked = [parameter._backward_hooks for parameter in parameters if parameter._backward_hooks]
    kept = [dict(hooks) for hooks in hooked]
    for hooks in hooked:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in zip(hooked, kept, strict=True):
            hooks.update(own)


def full_precision(device: torch.device) -> torch.autocast:
    """Context in which a backward pass runs: without the autocast of the forward pass."""
    return torch.autocast(device.type, enabled=False)
