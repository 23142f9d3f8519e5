"""A trade-off in one number, without a search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Decision, Method, StepState, share

_FLOOR = 0.05
"""Share of its largest mean below which a loss is not scaled up further."""


class Tradeoff(Method):
    """Every loss in units of its own running mean, shared out by one number.

    With t = `tradeoff` and E the running means of the losses, the shared part of the model follows
    ``E_main sum_i a_i g_i / E_i`` with ``a = (1 - t, t / (m - 1), ...)``: t is the share of the auxiliary
    tasks in the relative progress that a step is meant to make. 0 is training on the main loss alone, to the
    last bit. A constant factor of an auxiliary loss changes nothing. An auxiliary loss that has fallen below
    a twentieth of its largest mean counts as that twentieth, so that its weight is bounded; where a mean is
    not positive, the last scale is held (certificate ``held``).

    Args:
        tradeoff: 0 main task only, 1 auxiliary tasks only.

    Raises:
        ValueError: If `tradeoff` is outside [0, 1].

    Example:
        >>> method = Tradeoff(0.3)
        >>> method.start(n_tasks=2)
    """

    needs_gramian = False
    may_starve = False

    def __init__(self, tradeoff: float = 0.3) -> None:
        share("tradeoff", tradeoff, "0 is the main task only, 1 the auxiliary tasks only")
        self.tradeoff = tradeoff
        self._loaded: Mapping[str, Any] | None = None

    def start(self, n_tasks: int) -> None:
        """Share out the trade-off; ValueError if there are no tasks."""
        if n_tasks < 1:
            raise ValueError(f"`losses` must hold a main task, got {n_tasks} tasks.")
        t = self.tradeoff if n_tasks > 1 else 0.0
        self._shares = np.full(n_tasks, t / max(n_tasks - 1, 1))
        self._shares[0] = 1.0 - t
        self._scales, self._peaks = np.ones(n_tasks), np.zeros(n_tasks)
        if self._loaded is not None:
            self._scales, self._peaks = (np.array(self._loaded[key]) for key in ("scales", "peaks"))

    def decide(self, state: StepState) -> Decision:
        """The shares over the means, in units of the main task's."""
        means = np.exp(state.log_losses)
        known = np.isfinite(means) & np.isfinite(means[0])
        self._peaks = np.fmax(self._peaks, means)
        found: Array = means[0] / np.maximum(means, _FLOOR * self._peaks)
        self._scales = np.where(known, found, self._scales)
        self._scales[0] = 1.0
        held = float(not known[self._shares > 0.0].all())
        return Decision(self._shares * self._scales, certificates={"held": held}, shares=self._shares)

    def state_dict(self) -> dict[str, Any]:
        """The last scales and the largest means."""
        if not hasattr(self, "_scales"):
            return dict(self._loaded or {})
        return {"scales": self._scales.tolist(), "peaks": self._peaks.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before `start` or after it."""
        self._loaded = dict(state) or None
        if self._loaded is not None and hasattr(self, "_scales"):
            self.start(len(self._scales))
