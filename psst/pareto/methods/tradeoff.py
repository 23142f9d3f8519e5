"""A trade-off in one number, without a search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Method, StepState, share
from psst.pareto.solver import Decision

_FLOOR = 0.3  # share of its largest mean below which a loss counts as that share
_FIRST = 10  # steps whose means are no largest ones yet: a loss may merely start high


class Tradeoff(Method):
    """Every loss in units of its own size, shared out by one number.

    With t = `tradeoff` and S the sizes of the losses, the shared part of the model follows
    ``S_main sum_i a_i g_i / S_i`` with ``a = (1 - t (m - 1) / m, t / m, ...)``: 0 is training on the main
    loss alone, to the last bit, and with 1 all losses count alike, so that the main one keeps its m-th. The
    weights of the others never fall with t, and a constant factor of one of them changes nothing.

    The size of a loss is its running mean, or three tenths of the largest that this has been, if that is
    more. So weights are bounded, and a main loss that has all but vanished does not take the others along.
    Where a mean is not positive, the last scale is held (certificate ``held``).

    Args:
        tradeoff: 0 main task only, 1 all tasks alike.

    Raises:
        ValueError: If `tradeoff` is outside [0, 1].

    Example:
        >>> method = Tradeoff(0.3)
        >>> method.start(n_tasks=2)
    """

    needs_gramian = False
    may_starve = False

    def __init__(self, tradeoff: float = 0.3) -> None:
        share("tradeoff", tradeoff, "0 is the main task only, 1 all tasks alike")
        self.tradeoff = tradeoff

    def start(self, n_tasks: int) -> None:
        """Share out the trade-off."""
        self._shares = np.full(n_tasks, self.tradeoff / n_tasks)
        self._shares[0] = 1.0 - self.tradeoff * (n_tasks - 1) / n_tasks
        self._scales, self._peaks = np.ones(n_tasks), np.zeros(n_tasks)

    def decide(self, state: StepState) -> Decision:
        """The shares over the sizes, in units of the main task's."""
        means = np.exp(state.log_losses)
        known = np.isfinite(means) & np.isfinite(means[0])
        self._peaks = means if state.step < _FIRST else np.fmax(self._peaks, means)
        sizes = np.maximum(means, _FLOOR * self._peaks)
        found: Array = sizes[0] / sizes
        self._scales = np.where(known, found, self._scales)
        self._scales[0] = 1.0
        absent = np.isnan(state.losses)
        held = float(not (known | absent)[self._shares > 0.0].all())
        return Decision(self._shares * self._scales, certificates={"held": held}, shares=self._shares)

    def state_dict(self) -> dict[str, Any]:
        """The last scales and the largest means."""
        return {"scales": self._scales.tolist(), "peaks": self._peaks.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._scales, self._peaks = np.array(state["scales"]), np.array(state["peaks"])
