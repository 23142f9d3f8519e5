"""The second-order tangent of a Pareto front: where a change of the losses' weights moves its point."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import helmert
from torch import Tensor

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.tangents.front_gradients import matrix_product
from psst.tangents.minres import Operator, dot, minres, norm


@dataclass(frozen=True, eq=False)
class Tangent:
    """A step along the front, and what the models say of it.

    Attributes:
        direction: ``[P]``, as long as the first-order model needs to move the losses as wanted.
        beta: ``[m]``, of sum 0: the change of the weights that goes with it.
        change: ``[m]`` of the losses, to first order.
        curvature: ``d^T H d / d^T d`` of the direction d; NaN where it is zero.
        residual: ``||H d + J^T beta|| / ||J^T beta||``, without the damping; NaN likewise.
        least_curvature: The least that MINRES met along its residuals.
        curved: Whether each of those was positive, rounding apart.
        iterations: Of all solves.
        products: With the Hessian, all told.
    """

    direction: Tensor
    beta: Array
    change: Array
    curvature: float
    residual: float
    least_curvature: float
    curved: bool
    iterations: int
    products: int


def tangent(
    jacobian: Tensor,
    hessian: Operator,
    losses: Array,
    towards: Array,
    damping: float = 0.0,
    tolerance: float = 1e-5,
    limit: int = 50,
) -> Tangent:
    r"""Return the step along the Pareto front that moves the losses by `towards` in log coordinates.

    At a critical point :math:`J^\top \alpha = 0`. Where the weights change by beta, of sum 0, the point moves
    by d with :math:`H d = -J^\top \beta`, the losses by J d. The m - 1 systems of an orthonormal basis of
    such beta are solved, and of their span the d is taken whose J d, relative to the losses and centered, is
    `towards`. The sign of the curvature is therefore accounted for, and what is left of the gradients'
    mixture, :math:`J^\top \alpha`, plays no part: it is the same in every row.

    Nothing here says that the point lies on a front, or that H is worth its name: see `psst.tangents.gates`.

    Args:
        jacobian: J, ``[m, P]``, mean task gradients.
        hessian: Products with :math:`H = \sum_i \alpha_i \nabla^2 L_i`.
        losses: ``[m]``, positive, where J was taken.
        towards: ``[m]`` displacement in centered logs of the losses, such as half the way to a neighbor.
        damping: Added to H, relative to its size along the right-hand sides ``b``, ``||H b|| / ||b||`` in the
            root mean square; costs m - 1 products. 0 adds nothing.
        tolerance: Of MINRES, relative to each right-hand side.
        limit: Iterations of MINRES for each of the m - 1 systems.

    Source:
        Ma, Du and Matusik, Efficient Continuous Pareto Exploration, ICML 2020. Departures: steps are
        sized in losses instead of normalized, directions beta are chosen for where they lead, x starts at 0.
    """
    basis = helmert(len(losses))  # [m - 1, m], orthonormal rows of sum 0
    sides = torch.as_tensor(basis, dtype=jacobian.dtype, device=jacobian.device) @ jacobian
    added, products = (0.0, 0) if damping == 0.0 else (damping * _size(hessian, sides), len(sides))
    solved = [minres(hessian, side, added, tolerance, limit) for side in sides]
    moves = torch.stack([result.solution for result in solved])
    effects = -matrix_product(jacobian, moves)  # [m, m - 1]
    shares = _shares(effects, losses, towards)
    mixed = torch.as_tensor(shares, dtype=moves.dtype, device=moves.device)
    direction, side = -(mixed @ moves), mixed @ sides
    iterations = sum(result.iterations for result in solved)
    products += iterations
    curvature, residual = math.nan, math.nan
    if bool((direction != 0.0).any()):
        image = hessian(direction)
        products += 1
        curvature = dot(direction, image) / dot(direction, direction)
        residual = norm(image + side) / norm(side)
    return Tangent(
        direction,
        basis.T @ shares,
        effects @ shares,
        curvature,
        residual,
        min((result.least_curvature for result in solved), key=_nan_last),
        all(result.curved for result in solved),
        iterations,
        products,
    )


def centered_change(change: Array, losses: Array) -> Array:
    """``[m]`` first-order displacement in centered logs of a change of the losses."""
    return centered_log(change / losses)


def _shares(effects: Array, losses: Array, towards: Array) -> Array:
    """``[m - 1]`` of the moves, whose effects are ``[m, m - 1]``, that come nearest to `towards`."""
    moved = np.stack([centered_change(column, losses) for column in effects.T], axis=1)
    if not np.isfinite(moved).all():
        return np.zeros(effects.shape[1])
    lengths = np.linalg.norm(moved, axis=0)
    lengths[lengths == 0.0] = 1.0
    found: Array = np.linalg.lstsq(moved / lengths, towards, rcond=1e-12)[0]
    return np.asarray(found / lengths)


def _size(hessian: Operator, sides: Tensor) -> float:
    """Root mean square of ``||H b|| / ||b||`` over the right-hand sides; any other basis gives the same."""
    images = sum(norm(hessian(side)) ** 2 for side in sides)
    lengths = sum(norm(side) ** 2 for side in sides)
    return math.sqrt(images / lengths) if lengths > 0.0 else 0.0


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value
