"""One gradient a task, each graph freed as soon as nobody needs it; or one weighted pass for all of them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from psst.pareto.graph import Walk
from psst.pareto.injection import TaskGradient

#: A scalar loss, or a function that computes it with its whole graph.
Loss = Tensor | Callable[[], Tensor]

_LEAST_WEIGHT = 1e-3  # least at which a task's own gradient is read off the weighted pass, for precision


def scalar(loss: object, name: str, source: str = "") -> Tensor:
    """The loss of that name as it is; TypeError unless it is a scalar tensor."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        way_out = "take its mean" if isinstance(loss, Tensor) else "give the loss itself, with its graph"
        raise TypeError(f"`losses['{name}']`{source} must be a scalar tensor, found {found}; {way_out}.")
    return loss


def kept(walks: Sequence[Walk]) -> list[bool]:
    """Whether the graph of each loss has a node, which backward would free, that a later one needs."""
    return [
        any(not found.nodes.isdisjoint(later.nodes) for later in walks[index + 1 :])
        for index, found in enumerate(walks)
    ]


def gradient(
    losses: Sequence[Tensor],
    weights: Sequence[float],
    indices: Sequence[int],
    parameters: Sequence[Tensor],
    keep: bool,
    factor: Tensor | None,
) -> TaskGradient:
    """Gradient of a weighted sum with respect to the parameters at `indices`, in one backward pass.

    It is in float32 or better whatever the forward pass used: small gradients vanish in half precision.
    Graphs are kept if asked for; `factor` is that of a gradient scaler, there on the way through them alone.
    """
    inputs = [parameters[p] for p in indices]
    live = [(loss, weight) for loss, weight in zip(losses, weights, strict=True) if loss.requires_grad]
    if not inputs or not live:
        return {}
    roots = [loss if factor is None else loss.float() for loss, _ in live]
    starts = [torch.full_like(root, weight) for root, (_, weight) in zip(roots, live, strict=True)]
    starts = starts if factor is None else [start * factor for start in starts]
    with torch.autocast(roots[0].device.type, enabled=False), _without_hooks(inputs):
        found = torch.autograd.grad(roots, inputs, starts, retain_graph=keep, materialize_grads=True)
    return dict(zip(indices, found if factor is None else torch._foreach_div(found, factor), strict=True))


def weighted_gradient(
    losses: Sequence[Tensor],
    found: Sequence[Collection[int]],
    weights: Sequence[float],
    weighted: Collection[int],
    parameters: Sequence[Tensor],
    factor: Tensor | None,
) -> TaskGradient:
    """What `combine` makes of the task gradients, without any of them: one pass of the weighted losses.

    The own parameters of a task get its weighted gradient by that pass, which is divided by the weight. Where
    the weight is (nearly) zero, and where tasks meet in parameters that are not weighted, a second pass
    through those parts alone gives the plain sum. `weighted` are the `weighted_positions`, the others go by
    loss or by position; `factor` as of `gradient`.
    """
    owners: dict[int, list[int]] = {}
    for task, positions_now in enumerate(found):
        for p in positions_now:
            owners.setdefault(p, []).append(task)
    divided = {
        p: weights[tasks[0]]
        for p, tasks in owners.items()
        if p not in weighted and len(tasks) == 1 and abs(weights[tasks[0]]) >= _LEAST_WEIGHT
    }
    apart = {p for p in owners if p not in weighted and p not in divided}
    carried = [task for task, weight in enumerate(weights) if weight != 0.0]
    together = {p for task in carried for p in found[task]} - apart
    mixed: TaskGradient = {}
    if apart:
        plain = sorted({task for p in apart for task in owners[p]})
        losses_now, keep = [losses[task] for task in plain], bool(together)
        mixed |= gradient(losses_now, [1.0] * len(plain), sorted(apart), parameters, keep, factor)
    if together:
        losses_now, chosen = [losses[task] for task in carried], [weights[task] for task in carried]
        mixed |= gradient(losses_now, chosen, sorted(together), parameters, False, factor)
    for p, weight in divided.items():
        if weight != 1.0:
            mixed[p] = mixed[p] / weight
    return mixed


@contextmanager
def _without_hooks(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Take the users' hooks off tensors: they belong to the one gradient that is passed on later."""
    hooked = [tensor._backward_hooks for tensor in tensors if tensor._backward_hooks]
    kept_hooks = [dict(hooks) for hooks in hooked]
    for hooks in hooked:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in zip(hooked, kept_hooks, strict=True):
            hooks.update(own)
