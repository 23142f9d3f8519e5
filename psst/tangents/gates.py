"""Whether a tangent may be believed: each gate answers with what it found and why that is not enough.

A residual of the linear system says how well it was solved, not whether it was worth solving: gradients and
Hessian are means over a few noisy batches. So the point has to be nearly critical, the right-hand side has to
be the same on other batches, the curvature positive, and the effect visible on batches never used before.
"""

import math
from dataclasses import dataclass

import numpy as np

from psst.pareto.least_squares import Array
from psst.tangents.front_gradients import FrontGradients, matrix_product
from psst.tangents.tangent import Tangent

_LARGEST_CRITICALITY = 0.3
_LEAST_RELIABILITY = 0.8
_LARGEST_RESIDUAL = 0.9
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Verdict:
    """What one gate says.

    Attributes:
        gate: ``"criticality"``, ``"reliability"``, ``"curvature"``, ``"residual"`` or ``"confirmation"``.
        passed: Whether the tangent may go on.
        value: What was measured.
        reason: The measurement, the bound and what it means, in words.
    """

    gate: str
    passed: bool
    value: float
    reason: str


def critical(gradients: FrontGradients, weights: Array, bound: float = _LARGEST_CRITICALITY) -> Verdict:
    """The point is nearly Pareto critical: only there a front, and its tangent, exist.

    Args:
        gradients: Where the tangent is taken.
        weights: ``[m]``, not negative, of sum 1.
        bound: Of ``||sum_i w_i g_i|| / min_i ||g_i||`` from the denoised Gramian.
    """
    value = criticality(gradients.gramian, weights)
    passed = value < bound
    if math.isnan(value):
        reason = "a task's mean gradient cannot be told from noise: no front to follow, or too few batches"
    elif passed:
        reason = f"criticality {value:.2g} is below {bound:g}"
    else:
        reason = f"criticality {value:.2g}, {bound:g} or more: both losses still fall, train longer"
    return Verdict("criticality", passed, value, reason)


def reliable(gradients: FrontGradients, beta: Array, bound: float = _LEAST_RELIABILITY) -> Verdict:
    """The right-hand side is a property of the point, not of the batches.

    ``2 c / (1 + c)`` (Spearman and Brown) with c the cosine of ``J^T beta`` between the halves: the
    correlation that the mean over all batches would have with that of as many others.

    Args:
        gradients: Where the tangent is taken.
        beta: ``[m]``, of sum 0.
        bound: In [0, 1).
    """
    even, odd = gradients.halves
    pairs = ((even, even), (odd, odd), (even, odd))
    first, second, cross = (float(beta @ matrix_product(one, other) @ beta) for one, other in pairs)
    length = math.sqrt(max(first * second, 0.0))
    cosine = cross / length if length > 0.0 else math.nan
    value = 2.0 * cosine / (1.0 + cosine) if cosine > 0.0 else min(cosine, 0.0)
    passed = value > bound
    said = "above" if passed else "not above"
    meaning = "" if passed else ": the difference of the gradients is noise, use more batches"
    return Verdict("reliability", passed, value, f"reliability {value:.2g} is {said} {bound:g}{meaning}")


def curved(step: Tangent) -> Verdict:
    """The weighted loss curves upwards along the step: only such a point of the front is a minimum."""
    value = step.curvature
    passed = value > 0.0
    if math.isnan(value):
        reason = "there is no direction: no change of the weights moves the losses as wanted"
    elif passed:
        reason = f"curvature {value:.2g} along the tangent is positive"
    else:
        reason = f"curvature {value:.2g} along the tangent is not positive: concave front, or noise"
    return Verdict("curvature", passed, value, reason)


def solved(step: Tangent, bound: float = _LARGEST_RESIDUAL) -> Verdict:
    """The step solves the undamped system at least a little: ``||H d + J^T beta|| / ||J^T beta||``."""
    value = step.residual
    passed = value <= bound
    if passed:
        reason = f"relative residual {value:.2g} is at most {bound:g}"
    else:
        reason = f"relative residual {value:.2g}, above {bound:g}: more iterations or less damping"
    return Verdict("residual", passed, value, reason)


def confirmed(changes: Array, losses: Array, predicted: Array, bound: float = _STANDARD_ERRORS) -> Verdict:
    """The losses that were to fall do fall on fresh batches, by more than chance.

    Each batch gives one number: the relative changes of the losses predicted to fall, weighted by how far
    they were to. Its mean must lie below zero by more than `bound` standard errors.

    Args:
        changes: ``[batches, m]`` loss after minus loss before, on the same fresh batches.
        losses: ``[m]``, positive, before.
        predicted: ``[m]`` change of the losses that the tangent promises.
        bound: In standard errors.
    """
    falls = fall_weights(losses, predicted)
    if not falls.any():
        return Verdict("confirmation", False, math.nan, "the tangent promises no loss to fall")
    numbers = (changes / losses) @ falls
    mean, error = float(numbers.mean()), _standard_error(numbers)
    value = mean / error if error > 0.0 else math.copysign(math.inf, mean)
    passed = value < -bound
    said = f"relative change {mean:.2g} of what should fall, {value:.1f} standard errors on fresh batches"
    return Verdict("confirmation", passed, value, said if passed else f"{said}; {-bound:g} are needed")


def fall_weights(losses: Array, predicted: Array) -> Array:
    """``[m]`` shares of the losses in the relative fall that is predicted; zeros where none is to fall."""
    falls: Array = np.maximum(-predicted / losses, 0.0)
    total = float(falls.sum())
    return falls / total if 0.0 < total < math.inf else np.zeros(len(losses))


def _standard_error(numbers: Array) -> float:
    return float(numbers.std(ddof=1) / math.sqrt(len(numbers))) if len(numbers) > 1 else math.inf


def criticality(gramian: Array, weights: Array) -> float:
    """``||sum_i a_i g_i|| / min_i ||g_i||``: 0 at a Pareto critical point; NaN if a gradient has length 0."""
    shortest = float(gramian.diagonal().min())
    if shortest <= 0.0:
        return float("nan")
    return float(np.sqrt(max(float(weights @ gramian @ weights), 0.0) / shortest))
