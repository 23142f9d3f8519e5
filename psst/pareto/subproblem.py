"""One subproblem: keep the losses at a ray by tilting the weights round its prior, or give up on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array

_GAIN = 4.0
_LARGEST_ERROR = 2.0
_SMALLEST_DEAD_ZONE = 0.25  # error that is left alone, unless two standard deviations of its noise are more
_DRIFT_RATE = 2.0  # most that the logarithm of a weight drifts within one patience
_DRIFT_REACH = 1.0  # largest error at which weights drift: farther out the tilt is strong enough
_LARGEST_DRIFT = 7.0
_MOST = 100.0  # largest weight, in units of the prior's: no loss of a far larger scale takes over
_LEAST_PATIENCE = 200
_LEAST_PROGRESS = 0.01


def _tilt(error: Array, dz: float) -> Array:
    """``4 sign(e) max(|e| - dz, 0)``, errors ``[..., m]`` clipped to +-2: lagging tasks gain weight."""
    error = np.clip(error, -_LARGEST_ERROR, _LARGEST_ERROR)
    return _GAIN * np.sign(error) * np.maximum(np.abs(error) - dz, 0.0)


def _tilted_weights(prior: Array, tilts: Array) -> Array:
    """Weights proportional to ``prior exp(tilt)``, of sum 1; both ``[..., m]``."""
    grown = prior * np.exp(tilts - tilts.max(axis=-1, keepdims=True))
    weights: Array = grown / grown.sum(axis=-1, keepdims=True)
    return weights


class Subproblem:
    """Turns errors into target weights, and gives up on a ray that cannot be reached.

    The tilt alone would leave an error wherever the balance needs other weights than the prior, as after one
    loss was multiplied by 10. Therefore the prior drifts: near the ray, in each step, by the tilt clipped to
    +-1 and divided by half the patience, until the error is back in the dead zone (proportional and integral
    control; the integral stands still far from the ray, where it would only wind up).
    """

    def __init__(self, prior: Array, run_steps: int) -> None:
        self.watch = ReachWatch(run_steps)
        self._prior = prior
        self._drift = np.zeros_like(prior)

    def aim(self, error: Array, sd: float, in_sector: bool) -> tuple[Array, dict[str, float | Array]]:
        """Target weights ``[m]`` of one step, before its constraints, and its certificates.

        The error ``(c - ray) / unit``, with noise of `sd`, is positive where a loss is too high for its ray.
        Of the certificates, ``drift`` is that of the prior's logarithm, ``distance`` the largest error.
        """
        distance = float(np.abs(error).max())
        given_up = self.watch.update(distance, in_sector)
        tilts = np.zeros_like(error) if given_up else _tilt(error, max(_SMALLEST_DEAD_ZONE, 2.0 * sd))
        if given_up:
            self._drift = np.zeros_like(tilts)
        elif distance <= _DRIFT_REACH and tilts.any():
            moved = self._drift + _DRIFT_RATE / self.watch.patience * np.clip(tilts, -1.0, 1.0)
            self._drift = np.clip(moved, -_LARGEST_DRIFT, _LARGEST_DRIFT)
        base = _tilted_weights(self._prior, self._drift)
        tilted = np.minimum(_tilted_weights(self._prior, tilts + self._drift), _MOST * base)
        target = np.maximum(tilted + (1.0 - tilted.sum()) * base, 0.0)  # up to rounding
        target /= target.sum()
        certificates: dict[str, float | Array] = {
            "error": np.clip(error, -_LARGEST_ERROR, _LARGEST_ERROR),
            "tilt": tilts,
            "drift": self._drift,
            "target": target,
            "distance": distance,
            "nearest_distance": self.watch.nearest,
            "in_sector": float(in_sector),
            "unreachable": float(given_up),
        }
        return target, certificates

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"drift": self._drift.tolist(), "watch": self.watch.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped."""
        self._drift = np.array(state["drift"])
        self.watch.load_state_dict(state["watch"])


class ReachWatch:
    """Notices a ray that cannot be reached: a whole patience outside its sector and on average no nearer.

    Distances are averaged over the last halves of stretches as long as the patience. A ray is given up at the
    end of a stretch whose mean is not below that of the stretch before by 1% at least, if neither of the two
    touched the sector. The first stretch is held against its farthest point. So neither a detour nor swinging
    about the sector ends the pull, and the noise of single steps hardly matters.
    """

    def __init__(self, run_steps: int) -> None:
        self.patience = max(_LEAST_PATIENCE, run_steps // 10)
        self.nearest = float("inf")
        self.unreachable = False
        self._reference = 0.0
        self._first = True
        self._touched = self._touched_before = False
        self._sum = 0.0
        self._count = 0

    def update(self, distance: float, reached: bool) -> bool:
        """Take in one step's distance; True from the step on at which the ray is given up."""
        self.nearest = min(self.nearest, distance)
        if self._first:
            self._reference = max(self._reference, distance)
        self._touched = self._touched or reached
        self._count += 1
        if 2 * self._count > self.patience:
            self._sum += distance
        if self._count == self.patience:
            mean = self._sum / (self.patience - self.patience // 2)
            nearer = mean < (1.0 - _LEAST_PROGRESS) * self._reference
            self.unreachable = self.unreachable or not (nearer or self._touched or self._touched_before)
            self._reference, self._first, self._sum, self._count = mean, False, 0.0, 0
            self._touched, self._touched_before = False, self._touched
        return self.unreachable

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch stopped; the patience is this one's own."""
        vars(self).update({**state, "patience": self.patience})
