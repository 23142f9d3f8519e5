"""From several losses to one backward pass: task gradients, their Gramian, the root that injects a mixture.

Every function indexes parameters by their position in the list the caller gives, so that nothing is
concatenated and a parameter that a task does not reach costs nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import Node

#: Gradients of one task by parameter position; a parameter the task does not reach has no entry.
TaskGradient = dict[int, Tensor]


def task_gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[TaskGradient]:
    """Gradient of each loss with respect to every parameter it reaches.

    The graphs are walked first (about a microsecond a node). A loss whose graph shares no node with a later
    one frees its graph at once, so that losses of separate forwards cost together one backward pass; a node
    that several losses share is kept exactly until the last of them has passed.

    Args:
        losses: Scalars, one a task. One without a graph (a constant) reaches nothing.
        parameters: Leaves to differentiate by, each once.

    Raises:
        ValueError: A graph goes through reentrant gradient checkpointing, which hides parameters.
    """
    position = {id(parameter): index for index, parameter in enumerate(parameters)}
    walks = [_walk(loss) for loss in losses]
    reached = [sorted({position[id(leaf)] for leaf in leaves if id(leaf) in position}) for _, leaves in walks]
    needed_later = [
        any(not nodes.isdisjoint(later) for later, _ in walks[index + 1 :])
        for index, (nodes, _) in enumerate(walks)
    ]
    del walks  # it holds on to every node, and so to every saved activation
    gradients: list[TaskGradient] = []
    for loss, indices, keep in zip(losses, reached, needed_later, strict=True):
        found: Sequence[Tensor] = ()
        if indices:
            found = torch.autograd.grad(
                loss, [parameters[i] for i in indices], retain_graph=keep, materialize_grads=True
            )
        gradients.append(dict(zip(indices, found, strict=True)))
    return gradients


def shared_positions(reached: Sequence[Collection[int]]) -> set[int]:
    """Positions of the parameters that at least two tasks reach.

    Args:
        reached: The positions each task reaches, one collection a task.
    """
    seen: set[int] = set()
    shared: set[int] = set()
    for positions in reached:
        shared |= seen.intersection(positions)
        seen.update(positions)
    return shared


def gramian(gradients: Sequence[TaskGradient], shared: Iterable[int]) -> Tensor:
    """Inner products of the task gradients over the shared parameters, parameter by parameter.

    Args:
        gradients: One a task; a missing entry counts as zero.
        shared: Positions to sum over.

    Returns:
        ``[m, m]`` on the device of the gradients, float32 or wider; sums run in float32 or wider.
    """
    order = sorted(shared)
    like = next((value for gradient in gradients for value in gradient.values()), torch.zeros(()))
    wide = torch.promote_types(like.dtype, torch.float32)
    zero = torch.zeros((), dtype=wide, device=like.device)
    rows = [[zero] * len(gradients) for _ in gradients]
    for i, left in enumerate(gradients):
        for j, right in enumerate(gradients[: i + 1]):
            terms = [_dot(left[p], right[p], wide, like.device) for p in order if p in left and p in right]
            if terms:
                rows[i][j] = rows[j][i] = torch.stack(terms).sum()
    return torch.stack([torch.stack(row) for row in rows])


def combine(
    gradients: Sequence[TaskGradient], reached: Sequence[Collection[int]], weights: Sequence[float]
) -> TaskGradient:
    """Weighted sum of the task gradients on the shared parameters; elsewhere each task's own gradient.

    A task of weight 0 takes no part at all, so that with all weight on one task its gradient comes through
    bit for bit, even where another holds a NaN. Parameters that only tasks of weight 0 share get the plain
    sum, as they would from losses on detached features.

    Args:
        gradients: One a task.
        reached: Positions each task reaches in general; a task may be absent from this very batch.
        weights: One a task.
    """
    weighted = {
        p for positions, weight in zip(reached, weights, strict=True) if weight != 0.0 for p in positions
    }
    weighted &= shared_positions(reached)
    mixture: TaskGradient = {}
    for gradient, weight in zip(gradients, weights, strict=True):
        if weight != 0.0:
            _accumulate(mixture, {p: value for p, value in gradient.items() if p in weighted}, weight)
        _accumulate(mixture, {p: value for p, value in gradient.items() if p not in weighted}, 1.0)
    return mixture


def inject(value: Tensor, parameters: Sequence[Tensor], gradients: Mapping[int, Tensor]) -> Tensor:
    """Scalar that shows ``value`` and whose backward gives each parameter ``grad_output`` times its gradient.

    Whatever acts on an ordinary loss (division by the accumulation steps, a gradient scaler, hooks of a data
    parallel reducer) therefore acts on the given gradients. The graph ``value`` came from is not kept.

    Args:
        value: The loss to show, scalar.
        parameters: All parameters, in the order of the positions.
        gradients: By position; parameters without an entry are no part of the graph.
    """
    order = sorted(gradients)
    root = _Injection.apply(value.detach(), [gradients[p] for p in order], *[parameters[p] for p in order])
    assert isinstance(root, Tensor)
    return root


class _Context(FunctionCtx):
    gradients: list[Tensor]


class _Injection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, value: Tensor, gradients: list[Tensor], *_parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: _Context, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_output,) = grad_outputs
        return None, None, *torch._foreach_mul(ctx.gradients, grad_output)


def _walk(loss: Tensor) -> tuple[set[Node], list[Tensor]]:
    """Inner nodes of the graph under a loss, and its leaves. Nodes compare by identity only while held."""
    nodes: set[Node] = set()
    leaves: dict[int, Tensor] = {}
    waiting = [loss.grad_fn] if loss.grad_fn is not None else []
    while waiting:
        node = waiting.pop()
        if node in nodes:
            continue
        if type(node).__name__ == "AccumulateGrad":
            leaf: Tensor = node.variable  # type: ignore[attr-defined]
            leaves[id(leaf)] = leaf
            continue
        if node.name() == "CheckpointFunctionBackward":
            raise ValueError(
                "`torch.utils.checkpoint.checkpoint(use_reentrant=True)` hides the parameters inside from "
                "task gradients; pass `use_reentrant=False`."
            )
        nodes.add(node)
        waiting.extend(child for child, _ in node.next_functions if child is not None)
    return nodes, list(leaves.values())


def _dot(left: Tensor, right: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    product = torch.dot(left.reshape(-1).to(dtype), right.reshape(-1).to(dtype))
    return product.to(device)


def _accumulate(total: TaskGradient, part: TaskGradient, weight: float) -> None:
    """Add ``weight`` times ``part`` to ``total``, whose tensors are its own; new entries are copies."""
    new = [p for p in part if p not in total]
    known = [p for p in part if p in total]
    if known:
        torch._foreach_add_([total[p] for p in known], [part[p] for p in known], alpha=weight)
    if new:
        total.update(zip(new, torch._foreach_mul([part[p] for p in new], weight), strict=True))
