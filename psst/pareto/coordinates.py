"""Coordinates of a loss vector in which no scale of any loss matters: centered logs of means."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array

_START = 10.0  # steps in which the weight of the first losses in their mean falls to a half or so


def centered_log(log_losses: Array) -> Array:
    """Sector coordinates ``c = x - mean(x)`` of log losses ``[..., m]``, of sum 0 along the last axis.

    A common factor of all losses leaves c as it is; a factor of one loss moves every point alike, the rays
    included.
    """
    log_losses = np.asarray(log_losses, dtype=np.float64)
    centered: Array = log_losses - log_losses.mean(axis=-1, keepdims=True)
    return centered


class LossEMA:
    """Running mean of the raw losses that forgets its start; `update` returns its logarithm.

    After t steps the share kept is ``min(decay, 1 - 10 / (t + 10))``: nothing of the first batch stays for
    long, and a long run averages over ``1 / (1 - decay)`` steps. t counts optimizer steps: the batches of one
    step count once together, however many they are. A task that is absent keeps its mean and its own t.

    Args:
        decay: Largest share kept per step, in [0, 1); 0.99 for runs on their own, 0.95 for runs paired batch
            by batch.

    Raises:
        ValueError: If `decay` is outside [0, 1).
    """

    def __init__(self, decay: float = 0.99) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0.0 <= decay < 1.0:
            raise ValueError(
                f"`ema` must be a number in [0, 1), got {decay!r}; use 0.99, or 0 for no averaging."
            )
        self.decay = decay
        self._step: int | None = None
        self._before = self._steps = self._sum = self._count = np.zeros(0)

    @property
    def mean(self) -> Array:
        """``[m]`` averaged losses, NaN for a task not seen yet; ``[0]`` before the first update."""
        keep = np.minimum(self.decay, 1.0 - _START / (self._steps + _START))
        now = self._sum / np.maximum(self._count, 1.0)
        started = np.where(self._steps > 0, keep * self._before, 0.0) + (1.0 - keep) * now
        return np.where(self._count > 0, started, self._before)

    def update(self, losses: Array, step: int | None = None) -> Array:
        """Take in the raw losses ``[m]`` of a batch, NaN for an absent task; return the log of their average.

        That is NaN where the average is not positive, or there is none yet. `step` is the optimizer step that
        the batch belongs to; by default it is one of its own.

        Raises:
            ValueError: If a loss is infinite, or their number has changed.
        """
        losses = np.asarray(losses, dtype=np.float64)
        if np.isinf(losses).any():
            raise ValueError(f"`losses` must be finite, got {losses.tolist()}.")
        if not len(self._before):
            self._before, self._steps = np.full(losses.shape, np.nan), np.zeros(losses.shape)
            self._sum = self._count = np.zeros(losses.shape)
        elif self._before.shape != losses.shape:
            raise ValueError(
                f"`losses` must stay {list(self._before.shape)} in every step, got {list(losses.shape)}; "
                "return the same named losses from every training step."
            )
        if step is None or step != self._step:
            self._before, self._steps = self.mean, self._steps + (self._count > 0)
            self._sum = self._count = np.zeros(losses.shape)
        self._step = step
        there = ~np.isnan(losses)
        self._sum, self._count = self._sum + np.where(there, losses, 0.0), self._count + there
        mean = self.mean
        positive = np.where(np.isnan(mean), 0.0, mean) > 0.0
        return np.log(np.where(positive, mean, np.nan))

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers only; the decay is an argument, not state."""
        return {"mean": self.mean.tolist(), "steps": (self._steps + (self._count > 0)).tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the average of another run."""
        self._step, self._before, self._steps = None, np.array(state["mean"]), np.array(state["steps"])
        self._sum = self._count = np.zeros(self._before.shape)
