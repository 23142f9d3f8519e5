"""Task gradients at one point over many batches, and how far their noise lets them be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from psst.pareto.injection import TaskGradient
from psst.pareto.least_squares import Array
from psst.pareto.scopes import Scope
from psst.tangents.curvature import BatchLosses
from psst.tangents.minres import CHUNK


@dataclass(frozen=True, eq=False)
class FrontGradients:
    """Mean task gradients over two sets of batches drawn independently of each other.

    Attributes:
        losses: Two ``[batches, m]``.
        halves: Two ``[m, P]``.
        gramian: ``[m, m]`` inner products of the mean gradients, denoised: products between the halves only,
            brought to the nearest positive semidefinite matrix.
    """

    losses: tuple[Array, Array]
    halves: tuple[Tensor, Tensor]
    gramian: Array

    @property
    def mean_losses(self) -> Array:
        """``[m]`` over all batches."""
        mean: Array = np.concatenate(self.losses).mean(axis=0)
        return mean

    @property
    def jacobian(self) -> Tensor:
        """``[m, P]`` mean over all batches; another m copies of the parameters."""
        first, second = (len(losses) for losses in self.losses)
        return torch.lerp(self.halves[1], self.halves[0], first / (first + second))


def front_gradients(halves: Sequence[Sequence[BatchLosses]], parameters: Sequence[Tensor]) -> FrontGradients:
    """Take the gradient of each loss on each batch.

    Each task's graph is freed as soon as nobody needs it. Memory: 3 m copies of the parameters, m of which
    are given back at the end.

    Args:
        halves: Two sets of batches, one at least in each, drawn independently: two passes over shuffled
            data, not two parts of one. The parts of one share no sample, so where the whole has no gradient
            theirs are opposite, and a product between them is no measure of anything.
        parameters: To differentiate by, all on one device.

    Raises:
        ValueError: There are not two sets, or one is empty.
    """
    if len(halves) != 2 or not all(halves):
        sizes = [len(half) for half in halves]
        raise ValueError(f"`halves` must be two sets of batches to tell signal from noise, got {sizes}.")
    first, second = (_mean_gradients(half, parameters) for half in halves)
    gramian = semidefinite(matrix_product(first[1], second[1]))
    return FrontGradients((first[0], second[0]), (first[1], second[1]), gramian)


def _mean_gradients(batches: Sequence[BatchLosses], parameters: Sequence[Tensor]) -> tuple[Array, Tensor]:
    """Losses ``[batches, m]`` and mean gradients ``[m, P]``."""
    rows: list[list[float]] = []
    total: Tensor | None = None
    for batch in batches:
        losses = list(batch())
        gradients = _stacked(_task_gradients(losses, parameters), parameters)
        rows.append([float(loss.detach()) for loss in losses])
        total = gradients if total is None else total.add_(gradients)
        del losses
    assert total is not None
    return np.array(rows, dtype=np.float64), total.div_(len(batches))


def matrix_product(one: Tensor, other: Tensor) -> Array:
    """``[r, P]`` times the transpose of ``[c, P]``, summed in float64."""
    total = torch.zeros(len(one), len(other), dtype=torch.float64, device=one.device)
    for left, right in zip(torch.split(one, CHUNK, 1), torch.split(other, CHUNK, 1), strict=True):
        total += left.double() @ right.double().T
    product: Array = total.cpu().numpy()
    return product


def semidefinite(matrix: Array) -> Array:
    """The nearest positive semidefinite matrix, the antisymmetric part left out."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    nearest: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return nearest


def _stacked(gradients: Sequence[TaskGradient], parameters: Sequence[Tensor]) -> Tensor:
    """``[m, P]``, zeros where a task reaches nothing."""
    sizes = [parameter.numel() for parameter in parameters]
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    wide = torch.promote_types(parameters[0].dtype, torch.float32)
    flat = torch.zeros(len(gradients), starts[-1], dtype=wide, device=parameters[0].device)
    for row, gradient in zip(flat, gradients, strict=True):
        for position, value in gradient.items():
            row[starts[position] : starts[position + 1]] = value.reshape(-1)
    return flat


def _task_gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[TaskGradient]:
    """Of each loss with respect to every parameter it reaches, by its position; graphs are freed."""
    names = [str(task) for task in range(len(losses))]
    scope = Scope(names, [str(p) for p in range(len(parameters))], parameters)
    return scope.gather(dict(zip(names, losses, strict=True))).gradients
