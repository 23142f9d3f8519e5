"""One call in place of ``loss.backward()``: for plain loops, several optimizers, adversaries."""

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from psst.balancers.torch_jd import method_named
from psst.pareto import LossEMA, Method, StepState
from psst.pareto.least_squares import Array
from psst.pareto.scopes import Scope
from psst.pareto.task_gradients import scalar

_RUNNING: WeakKeyDictionary[Method, tuple[LossEMA, int]] = WeakKeyDictionary()


def weighted_backward(
    losses: Mapping[str, Tensor] | Sequence[Tensor],
    shared: Iterable[nn.Module | Tensor] | nn.Module | None = None,
    method: Method | str = "upgrad",
) -> Array:
    """Add to ``.grad`` the weighted gradient of shared parameters, and each task's own of the others.

    What ``sum(losses).backward()`` does, with weights on the shared part. Graphs are freed. A method given by
    name decides by this call alone; one given as an object remembers its calls, one optimizer step each.

    Args:
        losses: Scalars, the main one first; two at least.
        shared: Modules or parameters whose gradient is weighted; by default all that two losses reach.
        method: What decides the weights, or its name.

    Returns:
        ``[m]`` weights.

    Raises:
        TypeError: `losses` or `method` are of another kind.
        ValueError: Fewer than two losses, one that is not finite, or a name that no method has.

    Example:
        >>> weights = psst.weighted_backward({"real": real, "fake": fake}, shared=critic)  # doctest: +SKIP
    """
    named = _named(losses)
    chosen = method_named(method) if isinstance(method, str) else method
    if not isinstance(chosen, Method):
        raise TypeError(
            f"`method` must be a Method or a name such as 'upgrad', got a {type(chosen).__name__}."
        )
    ours = None if shared is None else {id(leaf) for part in _parts(shared) for leaf in part}

    def adopt(leaf: Tensor) -> str:
        return "shared" if ours is None or id(leaf) in ours else "own"

    scope = Scope(list(named), {}, None if ours is None else ["shared"], adopt)
    gathered = scope.gather(named, one_pass=not chosen.needs_gramian)
    values = np.array([float(value) for value in gathered.values.values()])
    for name, value in zip(named, values, strict=True):
        if not np.isfinite(value):
            raise ValueError(f"`losses['{name}']` is {value}; nothing was added to any `.grad`.")
    gramian = gathered.gramian(scope.shared).double().cpu().numpy() if chosen.needs_gramian else None
    if chosen not in _RUNNING:
        chosen.name_tasks(list(named))
        chosen.start(len(named))
        _RUNNING[chosen] = LossEMA(0.95), 0
    average, step = _RUNNING[chosen]
    decision = chosen.decide(StepState(gramian, values, average.update(values, step), step))
    _RUNNING[chosen] = average, step + 1
    mixed = gathered.mixture(decision.weights.tolist())
    if mixed:
        torch.autograd.backward([scope.parameters[p] for p in mixed], list(mixed.values()))
    return decision.weights


def _named(losses: object) -> dict[str, Tensor]:
    if isinstance(losses, Sequence) and not isinstance(losses, str):
        losses = {f"loss {i}": loss for i, loss in enumerate(losses)}
    if not isinstance(losses, Mapping) or len(losses) < 2:
        raise ValueError(
            f"`losses` must be two scalars or more, in a list or by name, got {losses!r:.80}; with one loss, "
            "call its `backward()`."
        )
    return {name: scalar(loss, name) for name, loss in losses.items()}


def _parts(shared: object) -> list[list[Tensor]]:
    """The parameters of each module or parameter that is named."""
    every = [shared] if isinstance(shared, nn.Module | Tensor) else list(shared)  # type: ignore[call-overload]  # checked below
    for part in every:
        if not isinstance(part, nn.Module | Tensor):
            raise TypeError(f"`shared` takes modules and parameters, found a {type(part).__name__}.")
    return [list(part.parameters()) if isinstance(part, nn.Module) else [part] for part in every]
