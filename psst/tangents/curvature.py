"""Products with the Hessian of a weighted sum of losses on fixed batches, by two backward passes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from psst.pareto.graph import walk

#: The m losses of one fixed batch, scalars with graphs, the same values at every call.
BatchLosses = Callable[[], Sequence[Tensor]]

PRODUCT_STEPS = {False: 6.5, True: 5.0}
"""Cost of a product by whether graphs are kept, in forward-backward passes over its batches.

Measured with Conv-4 on one CPU thread, where elementwise operations take most of it; fixed numbers, so that
what is planned does not depend on the machine.
"""
GRAPH_STEPS = 1.3
"""Cost of making the graphs that are kept, likewise."""


class WeightedHessian:
    """``v -> H v`` with ``H = mean over batches of sum_i w_i Hess L_i``; an operator for `minres`.

    Every product is taken over all batches, so the operator stays the same. Without kept graphs one batch's
    graph is alive at a time and each product repeats the forward and the first backward pass; with them, a
    product is the second backward pass alone, and the graphs of all batches stay in memory.

    Args:
        batches: At least one.
        parameters: To differentiate by, in the order of the vector's parts; all on one device.
        weights: ``[m]``; a loss of weight 0 is left out.
        keep_graphs: See above.

    Attributes:
        products: Taken so far.

    Raises:
        RuntimeError: On a product, where an operation of the losses has no second derivative. Functions
            marked `once_differentiable` are found too, which autograd itself passes over in silence.
    """

    def __init__(
        self,
        batches: Sequence[BatchLosses],
        parameters: Sequence[Tensor],
        weights: Sequence[float],
        keep_graphs: bool = False,
    ) -> None:
        self._batches = list(batches)
        self._parameters = list(parameters)
        self._weights = [float(weight) for weight in weights]
        self._keep = keep_graphs
        self._graphs: list[list[Tensor]] = []
        self._checked = False
        self.products = 0

    @property
    def steps(self) -> float:
        """Cost so far in steps: forward and backward passes over one batch."""
        made = GRAPH_STEPS * len(self._graphs)
        return made + PRODUCT_STEPS[self._keep] * self.products * len(self._batches)

    def __call__(self, vector: Tensor) -> Tensor:
        """Return ``H v``, ``[P]``."""
        if self._keep and not self._graphs:
            self._graphs = [self._gradient(batch) for batch in self._batches]
        parts = split(vector, self._parameters)
        total = torch.zeros_like(vector)
        for index, batch in enumerate(self._batches):
            gradient = self._graphs[index] if self._keep else self._gradient(batch)
            total += self._product(gradient, parts)
        self.products += 1
        return total.div_(len(self._batches))

    def _gradient(self, batch: BatchLosses) -> list[Tensor]:
        losses = zip(self._weights, batch(), strict=True)
        mixed = torch.stack([weight * loss.reshape(()) for weight, loss in losses if weight != 0.0]).sum()
        found = torch.autograd.grad(mixed, self._parameters, create_graph=True, materialize_grads=True)
        if not self._checked:
            self._checked = True
            _refuse_dead_ends(found)
        return list(found)

    def _product(self, gradient: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        moved = [(value, part) for value, part in zip(gradient, parts, strict=True) if value.requires_grad]
        if not moved:  # losses linear in every parameter
            return torch.zeros_like(flatten(parts))
        along = torch.stack([(value * part).sum() for value, part in moved]).sum()
        found = torch.autograd.grad(along, self._parameters, retain_graph=self._keep, materialize_grads=True)
        return flatten(found)


def _refuse_dead_ends(gradient: Sequence[Tensor]) -> None:
    """Raise where a graph ends in a node that stands for a missing second derivative.

    Nothing leads on from such a node, so that a backward pass towards parameters never comes there, and
    their share in the product would be missing.
    """
    moving = [value.sum() for value in gradient if value.requires_grad]
    if moving and any(node.name().endswith("Error") for node in walk(torch.stack(moving).sum()).nodes):
        raise RuntimeError(
            "the losses go through a function marked `once_differentiable`, which has no second derivative; "
            "write its backward in differentiable operations and remove the mark."
        )


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """``[P]``: parts end to end, detached."""
    return torch.cat([part.detach().reshape(-1) for part in parts])


def split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The opposite of `flatten`: parts of ``[P]`` in the shapes and dtypes of `like`."""
    parts = torch.split(vector, [part.numel() for part in like])
    return [part.view_as(shape).to(shape.dtype) for part, shape in zip(parts, like, strict=True)]
