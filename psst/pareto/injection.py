"""From task gradients to one backward pass: their mixture, and the root that injects it.

Every function indexes parameters by their position in the list the caller gives, so that nothing is
concatenated and a parameter that a task does not reach costs nothing.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

#: Gradients of one task by parameter position; a parameter the task does not reach has no entry.
TaskGradient = dict[int, Tensor]


def shared_positions(reached: Sequence[Collection[int]]) -> set[int]:
    """Positions of the parameters that at least two tasks reach, of those each task reaches."""
    seen: set[int] = set()
    shared: set[int] = set()
    for positions in reached:
        shared |= seen.intersection(positions)
        seen.update(positions)
    return shared


def weighted_positions(
    reached: Sequence[Collection[int]], weights: Sequence[float], shared: Collection[int]
) -> set[int]:
    """Positions of the shared parameters that a task of weight other than 0 reaches; see `combine`."""
    pairs = zip(reached, weights, strict=True)
    return {p for found, weight in pairs if weight != 0.0 for p in found}.intersection(shared)


def combine(
    gradients: Sequence[TaskGradient],
    reached: Sequence[Collection[int]],
    weights: Sequence[float],
    shared: Collection[int],
) -> TaskGradient:
    """Weighted sum of the task gradients on the shared parameters; elsewhere each task's own gradient.

    A task of weight 0 takes no part at all, so that with all weight on one task its gradient comes through
    bit for bit, even where another holds a NaN. Parameters that only tasks of weight 0 share get the plain
    sum, as they would from losses on detached features. `reached` are the positions that each task reaches in
    general: it may be absent from this very batch.
    """
    weighted = weighted_positions(reached, weights, shared)
    mixture: TaskGradient = {}
    for gradient, weight in zip(gradients, weights, strict=True):
        if weight != 0.0:
            accumulate(mixture, {p: value for p, value in gradient.items() if p in weighted}, weight)
        accumulate(mixture, {p: value for p, value in gradient.items() if p not in weighted}, 1.0)
    return mixture


def inject(value: Tensor, parameters: Sequence[Tensor], gradients: Mapping[int, Tensor]) -> Tensor:
    """Scalar that shows ``value`` and whose backward gives each parameter ``grad_output`` times its gradient.

    Whatever acts on an ordinary loss (division by the accumulation steps, a gradient scaler, hooks of a data
    parallel reducer) therefore acts on the given gradients. The graph ``value`` came from is not kept, and
    parameters without a gradient are no part of the new one; where there are none, backward is allowed all
    the same.
    """
    if not gradients:
        return value.detach() + torch.zeros((), device=value.device, requires_grad=True) * 0.0
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
        if torch.is_grad_enabled():
            raise RuntimeError(
                "`create_graph=True` asks for a graph of the gradient, but the weighted gradient has none; "
                "take second derivatives of the losses themselves."
            )
        (grad_output,) = grad_outputs
        return None, None, *torch._foreach_mul(ctx.gradients, grad_output)


def accumulate(total: TaskGradient, part: TaskGradient, weight: float) -> None:
    """Add ``weight`` times ``part`` to ``total``, whose tensors are its own; new entries are copies."""
    new = [p for p in part if p not in total]
    known = [p for p in part if p in total]
    if known:
        torch._foreach_add_([total[p] for p in known], [part[p] for p in known], alpha=weight)
    if new:
        total.update(zip(new, torch._foreach_mul([part[p] for p in new], weight), strict=True))
