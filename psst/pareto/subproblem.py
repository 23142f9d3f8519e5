"""One subproblem: keep the losses at a ray by tilting the weights round the ray's prior."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.reach_watch import ReachWatch

GAIN = 4.0
LARGEST_ERROR = 2.0
SMALLEST_DEAD_ZONE = 0.25
DRIFT_RATE = 2.0
"""Most that the logarithm of a weight drifts within one patience."""
DRIFT_REACH = 1.0
"""Largest error at which weights drift: farther out the tilt is strong enough."""
LARGEST_DRIFT = 7.0


def dead_zone(sd: float, unit: float) -> float:
    """Error that is left alone: a quarter of the unit, or two standard deviations of the noise."""
    return max(SMALLEST_DEAD_ZONE, 2.0 * sd / unit)


def tilt(error: Array, dz: float) -> Array:
    """``4 sign(e) max(|e| - dz, 0)``, errors clipped to +-2.

    Args:
        error: ``[..., m]`` ``(c - ray) / unit``; positive where a loss is too high for its ray, so that
            lagging tasks gain weight.
        dz: Dead zone, in units of the error.

    Returns:
        ``[..., m]``, at most 8 in size.
    """
    error = np.clip(error, -LARGEST_ERROR, LARGEST_ERROR)
    tilted: Array = GAIN * np.sign(error) * np.maximum(np.abs(error) - dz, 0.0)
    return tilted


def tilted_weights(prior: Array, tilts: Array) -> Array:
    """Weights proportional to ``prior exp(tilt)``, of sum 1; both ``[..., m]``."""
    grown = prior * np.exp(tilts - tilts.max(axis=-1, keepdims=True))
    weights: Array = grown / grown.sum(axis=-1, keepdims=True)
    return weights


@dataclass(frozen=True)
class Aim:
    """Where one step wants the weights.

    Attributes:
        target: ``[m]`` weights before the constraints of the step.
        certificates: What the step saw; see `Subproblem.aim`.
    """

    target: Array
    certificates: dict[str, float | Array]


class Subproblem:
    """Turns errors into target weights, counts flips, and gives up on a ray that cannot be reached.

    The tilt alone would leave an error wherever the balance needs other weights than the prior, as after one
    loss was multiplied by 10. Therefore the prior drifts: near the ray, in each step, by the tilt clipped to
    +-1 and divided by half the patience, until the error is back in the dead zone (proportional and integral
    control; the integral stands still far from the ray, where it would only wind up).

    Args:
        run_steps: Length of the run, of which a tenth (and 200 steps at least) is the patience.
    """

    def __init__(self, run_steps: int) -> None:
        self.watch = ReachWatch(run_steps)
        self.flips = 0
        self._steps = 0
        self._last_sign = 0
        self._drift: Array | None = None

    def aim(self, error: Array, prior: Array, dz: float, in_sector: bool) -> Aim:
        """Target weights of one step.

        Args:
            error: ``[m]``, not clipped.
            prior: ``[m]``.
            dz: Dead zone.
            in_sector: Whether the losses lie in the subproblem's own sector.

        Returns:
            The target and the certificates ``error``, ``tilt``, ``drift`` (of the prior's logarithm),
            ``target`` (``[m]``), ``distance`` (largest error), ``nearest_distance`` (least so far),
            ``in_sector``, ``unreachable`` (0 or 1), ``flips`` (changes of the main tilt's sign so far) and
            ``flips_per_1000``.
        """
        distance = float(np.abs(error).max())
        given_up = self.watch.update(distance, in_sector)
        tilts = np.zeros_like(error) if given_up else tilt(error, dz)
        self._count_flip(int(np.sign(tilts[0])))
        drift = self._drifted(tilts, distance, given_up)
        target = tilted_weights(prior, tilts + drift)
        certificates: dict[str, float | Array] = {
            "error": np.clip(error, -LARGEST_ERROR, LARGEST_ERROR),
            "tilt": tilts,
            "drift": drift,
            "target": target,
            "distance": distance,
            "nearest_distance": self.watch.nearest,
            "in_sector": float(in_sector),
            "unreachable": float(given_up),
            "flips": float(self.flips),
            "flips_per_1000": 1000.0 * self.flips / self._steps,
        }
        return Aim(target, certificates)

    def _drifted(self, tilts: Array, distance: float, given_up: bool) -> Array:
        if self._drift is None or given_up:
            self._drift = np.zeros_like(tilts)
        elif distance <= DRIFT_REACH and tilts.any():
            moved = self._drift + DRIFT_RATE / self.watch.patience * np.maximum(np.minimum(tilts, 1.0), -1.0)
            self._drift = np.maximum(np.minimum(moved, LARGEST_DRIFT), -LARGEST_DRIFT)
        return self._drift

    def _count_flip(self, sign: int) -> None:
        self._steps += 1
        if sign and self._last_sign and sign != self._last_sign:
            self.flips += 1
        self._last_sign = sign or self._last_sign

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        counters = {"flips": self.flips, "steps": self._steps, "last_sign": self._last_sign}
        drift = None if self._drift is None else [float(value) for value in self._drift]
        return {**counters, "drift": drift, "watch": self.watch.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped."""
        self.flips, self._steps = int(state["flips"]), int(state["steps"])
        self._last_sign, drift = int(state["last_sign"]), state["drift"]
        self._drift = None if drift is None else np.asarray(drift, dtype=np.float64)
        self.watch.load_state_dict(state["watch"])
