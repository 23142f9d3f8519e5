"""The problems of `problems.py` once more in torch, where they can be differentiated twice."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from psst.tangents.curvature import WeightedHessian
from psst.tangents.front_gradients import FrontGradients, front_gradients
from tests.pareto.problems import Array

Losses = Callable[[Tensor], Tensor]
"""From a point ``[n]`` to its losses ``[m]``."""


def quadratics(centers: Array, matrices: Array) -> Losses:
    where, shapes = torch.as_tensor(centers), torch.as_tensor(matrices)

    def losses(point: Tensor) -> Tensor:
        away = point - where
        return 0.5 * torch.einsum("mi,mij,mj->m", away, shapes, away)

    return losses


def anisotropic(m: int, n: int = 6, seed: int = 0) -> tuple[Array, Array]:
    """Centers ``[m, n]`` and matrices ``[m, n, n]`` of condition number 20, each with axes of its own."""
    rng = np.random.default_rng(seed)
    bases = np.linalg.qr(rng.standard_normal((m, n, n)))[0]
    curvatures = np.geomspace(0.05, 1.0, n)
    return np.eye(m, n) + 0.1 * rng.standard_normal((m, n)), np.einsum(
        "mij,j,mkj->mik", bases, curvatures, bases
    )


def vlmop2(point: Tensor) -> Tensor:
    center = point.new_full(point.shape, len(point) ** -0.5)
    return torch.stack([1.0 - torch.exp(-(point - sign * center).square().sum()) for sign in (1.0, -1.0)])


def vlmop2_optimum(place: float, n: int = 20) -> tuple[Array, Array]:
    """Point ``[n]`` and weights ``[2]`` at a place in (-1, 1) of the Pareto set."""
    pulls = np.array([(1 + place) * np.exp(-((1 + place) ** 2)), (1 - place) * np.exp(-((1 - place) ** 2))])
    return np.full(n, place / np.sqrt(n)), pulls / pulls.sum()


def zdt2_variant(point: Tensor) -> Tensor:
    s = point[1:].square().sum()
    first = 0.5 + 0.5 * torch.sin(point[0] + s)
    away = 1.0 + 4.5 * (1.0 + torch.cos(s))
    return torch.stack([first, away * (1.0 - (first / away).square())])


def zdt2_optimum(first: float, angle: float = 0.7) -> tuple[Array, Array]:
    """Point ``[3]`` and weights ``[2]`` where the first loss is `first`, anywhere on the circle."""
    radius = np.sqrt(np.pi)
    place = -np.pi - np.arcsin(1.0 - 2.0 * first)
    point = np.array([place, radius * np.cos(angle), radius * np.sin(angle)])
    return point, np.array([2.0 * first, 1.0]) / (1.0 + 2.0 * first)


def at(losses: Losses, point: Array, weights: Array) -> tuple[FrontGradients, WeightedHessian]:
    """Gradients and Hessian at a point; there is no noise, so both batches are the same."""
    parameter = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    batches = [lambda: list(losses(parameter))] * 2
    return front_gradients([batches[:1], batches[1:]], [parameter]), WeightedHessian(
        batches[:1], [parameter], list(weights)
    )
