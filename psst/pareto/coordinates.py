"""Coordinates of a loss vector in which no scale of any loss matters: centered logs of means."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array


def centered_log(log_losses: Array) -> Array:
    """Sector coordinates ``c = x - mean(x)`` of log losses.

    A common factor of all losses leaves c as it is; a factor of one loss moves every point alike, the rays
    included.

    Args:
        log_losses: ``[..., m]``.

    Returns:
        ``[..., m]``, of sum 0 along the last axis.
    """
    log_losses = np.asarray(log_losses, dtype=np.float64)
    centered: Array = log_losses - log_losses.mean(axis=-1, keepdims=True)
    return centered


def first_without_log(losses: Array) -> int | None:
    """Index of the first loss that is not finite and positive, so that a caller can name the task."""
    bad = np.flatnonzero(~(np.isfinite(losses) & (np.asarray(losses) > 0.0)))
    return int(bad[0]) if len(bad) else None


def log_of_losses(losses: Array) -> Array:
    """Logarithm of the losses ``[m]``.

    Raises:
        ValueError: If a loss is not finite and positive; its index is named.
    """
    losses = np.asarray(losses, dtype=np.float64)
    index = first_without_log(losses)
    if index is not None:
        raise ValueError(
            f"`losses[{index}]` must be finite and positive, because Pareto rays are ratios of losses, got "
            f"{losses[index]}; add a constant to that loss, or train with `FixedWeights`, which needs "
            "no ratios."
        )
    logs: Array = np.log(losses)
    return logs


class LossEMA:
    """Exponential moving average of the raw losses; `update` returns its logarithm.

    A fresh average starts at the first losses it sees, without any bias correction. A run that goes on from
    another one loads that run's state before its first update and so never starts from a single batch.

    Args:
        decay: Share kept per step, in [0, 1); 0.99 for runs on their own, 0.95 for runs paired batch by
            batch.

    Raises:
        ValueError: If `decay` is outside [0, 1).
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"`ema` must be in [0, 1), got {decay}; use 0.99, or 0 for no averaging.")
        self.decay = decay
        self._mean: Array | None = None

    @property
    def mean(self) -> Array | None:
        """``[m]`` averaged losses, ``None`` before the first update."""
        return None if self._mean is None else self._mean.copy()

    def update(self, losses: Array, any_sign: bool = False) -> Array:
        """Take in the losses of one step, ``[m]``, and return ``[m]`` the log of their average.

        Args:
            losses: ``[m]``, raw.
            any_sign: Average losses of any sign; the log of an average that is not positive is NaN.

        Raises:
            ValueError: If a loss is not finite, or not positive where it has to be, or their number has
                changed.
        """
        losses = np.asarray(losses, dtype=np.float64)
        if not any_sign or not np.isfinite(losses).all():
            log_of_losses(losses)
        if self._mean is None:
            self._mean = losses.copy()
        elif self._mean.shape != losses.shape:
            raise ValueError(
                f"`losses` must stay {list(self._mean.shape)} in every step, got {list(losses.shape)}; "
                "return the same named losses from every training step."
            )
        else:
            self._mean = self.decay * self._mean + (1.0 - self.decay) * losses
        logs: Array = np.log(np.where(self._mean > 0.0, self._mean, np.nan))
        return logs

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers only; the decay is an argument, not state."""
        return {"mean": None if self._mean is None else [float(value) for value in self._mean]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the average of another run."""
        mean = state["mean"]
        self._mean = None if mean is None else np.asarray(mean, dtype=np.float64)
