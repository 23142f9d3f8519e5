"""MINRES in torch: symmetric systems, indefinite or singular ones too, from products with vectors alone."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: From ``[P]`` to the product of a symmetric matrix with it, ``[P]``, linear and always of the same matrix.
Operator = Callable[[Tensor], Tensor]

CHUNK = 2**20
"""Most numbers that are widened to float64 at once."""
_NULL = 100.0
"""Machine precisions of the matrix's norm below which a number counts as zero."""


@dataclass(frozen=True, eq=False)
class MinresResult:
    """What `minres` has found.

    Attributes:
        solution: ``[P]``.
        residual: ``||b - (A + damping) x|| / ||b||`` by the recurrence.
        iterations: Products taken.
        least_curvature: Least ``r^T A r / r^T r`` over the residuals r met, without the damping; NaN where
            there was no iteration.
        curved: Whether each of them was positive, rounding apart.
        ended: ``"solved"`` to the tolerance; ``"least_squares"``: the system has no solution and no residual
            is shorter; ``"limit"`` of iterations; ``"not_finite"``: a product was
            not, and what was found before it is given; ``"zero"``: so was the right-hand side.
    """

    solution: Tensor
    residual: float
    iterations: int
    least_curvature: float
    curved: bool
    ended: str


def minres(
    operator: Operator, rhs: Tensor, damping: float = 0.0, tolerance: float = 1e-5, limit: int = 50
) -> MinresResult:
    """Minimize ``||b - (A + damping) x||`` over growing Krylov spaces, from x = 0.

    Where A is singular and the system has a solution, the shortest one is found. Vectors keep the dtype of
    `rhs`; their products are summed in float64, one wait for the device each. Memory: seven vectors beside
    `rhs`, and what a product takes.

    Args:
        operator: Products with A, symmetric.
        rhs: b, ``[P]``.
        damping: Added to A's diagonal.
        tolerance: Of the residual, relative to ``||b||``. That there is no solution is seen by ``||A r||``
            below the root of the machine precision, relative to ``||A|| ||r||``.
        limit: Most iterations, each one product.

    Source:
        Paige and Saunders, SIAM J. Numer. Anal. 12, 1975, in the notation of Choi, Paige and Saunders, SIAM
        J. Sci. Comput. 33, 2011. The curvature along the residuals comes with the recurrence: Liu
        and Roosta, SIAM J. Optim. 32, 2022.
    """
    length, precision = norm(rhs), torch.finfo(rhs.dtype).eps
    solution = torch.zeros_like(rhs)
    if length == 0.0 or not math.isfinite(length):
        return MinresResult(solution, 0.0, 0, math.nan, True, "not_finite" if length else "zero")
    null, flat = _NULL * precision, math.sqrt(precision)
    last_step, step = torch.zeros_like(rhs), torch.zeros_like(rhs)
    size, delta, epsilon, cosine, sine, residual = 0.0, 0.0, 0.0, -1.0, 0.0, 1.0
    least, ended, iterations = math.inf, "limit", 0
    for _, (vector, alpha, beta, following) in zip(
        range(limit), _lanczos(operator, rhs / length, damping), strict=False
    ):
        if not math.isfinite(alpha + following):
            ended = "not_finite"
            break
        iterations += 1
        size = max(size, math.hypot(alpha, beta, following))
        above, gamma = cosine * delta + sine * alpha, sine * delta - cosine * alpha
        delta = -cosine * following
        least = min(least, -cosine * gamma - damping)
        diagonal = math.hypot(gamma, following)
        shortest = iterations > 1 and math.hypot(gamma, delta) <= flat * size  # ||A r|| / ||r||
        if shortest or diagonal <= null * size:
            ended = "least_squares"
            break
        last_step, step = step, _direction(vector, step, last_step, above, epsilon, diagonal)
        epsilon = sine * following
        cosine, sine = gamma / diagonal, following / diagonal
        solution.add_(step, alpha=length * residual * cosine)
        residual *= sine
        if residual <= tolerance or following <= null * size:
            ended = "solved" if residual <= max(tolerance, null) else "least_squares"
            break
    found = least if iterations else math.nan
    return MinresResult(solution, residual, iterations, found, found > null * size, ended)


def _lanczos(
    operator: Operator, vector: Tensor, damping: float
) -> Iterator[tuple[Tensor, float, float, float]]:
    """Orthonormal vectors in which the operator is tridiagonal, each with its row: before, on, after it."""
    before, beta = torch.zeros_like(vector), 0.0
    while True:
        image = operator(vector)
        alpha = dot(vector, image) + damping
        image = image.add(vector, alpha=damping - alpha).sub_(before, alpha=beta)
        following = norm(image)
        yield vector, alpha, beta, following
        before, vector, beta = vector, image.div_(following), following


def _direction(
    vector: Tensor, step: Tensor, last_step: Tensor, above: float, upper: float, diagonal: float
) -> Tensor:
    """The next column of V R^{-1}, into the memory of the last but one."""
    return last_step.mul_(-upper).add_(step, alpha=-above).add_(vector).div_(diagonal)


def dot(one: Tensor, other: Tensor) -> float:
    """Inner product of two ``[P]``, summed in float64."""
    total = torch.zeros((), dtype=torch.float64, device=one.device)
    for left, right in zip(torch.split(one, CHUNK), torch.split(other, CHUNK), strict=True):
        total += torch.dot(left.double(), right.double())
    return float(total)


def norm(vector: Tensor) -> float:
    """Euclidean length of ``[P]``, summed in float64."""
    return math.sqrt(dot(vector, vector))
