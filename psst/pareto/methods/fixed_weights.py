"""The weighted sum: anchors and baselines."""

from collections.abc import Sequence

import numpy as np

from psst.pareto.methods.base import Decision, Method, StepState
from psst.pareto.solver import nearest


class FixedWeights(Method):
    """Weights ``(1, w_1, ..., w_{m-1}) / (1 + sum w)``, whatever the gradients are; 0 is plain training.

    Args:
        auxiliary: Weights w of the auxiliary tasks relative to the main one; a single number serves all of
            them.

    Raises:
        ValueError: If a weight is negative or not finite.
    """

    needs_ratios = False

    def __init__(self, auxiliary: Sequence[float] | float = 0.3) -> None:
        values = np.atleast_1d(np.asarray(auxiliary, dtype=np.float64))
        if values.ndim != 1 or not (np.isfinite(values).all() and (values >= 0.0).all()):
            raise ValueError(
                f"`auxiliary={auxiliary}` must be finite and not negative; use 0 for plain training."
            )
        self.auxiliary = auxiliary
        self._weights = np.ones(1)

    def start(self, n_tasks: int) -> None:
        """Raises ValueError if the number of weights is not that of the auxiliary tasks."""
        values = np.atleast_1d(np.asarray(self.auxiliary, dtype=np.float64))
        if np.ndim(self.auxiliary) == 0:
            values = np.full(n_tasks - 1, float(values[0]))
        if len(values) != n_tasks - 1:
            raise ValueError(
                f"`auxiliary={self.auxiliary}` has {len(values)} weights for {n_tasks - 1} auxiliary tasks; "
                "give one weight for each, or a single number for all."
            )
        unnormalized = np.concatenate([np.ones(1), values])
        self._weights = unnormalized / unnormalized.sum()

    def decide(self, state: StepState) -> Decision:
        """The same weights in every step; a zero or non-finite Gramian is reported as skipped."""
        solution = nearest(state.gramian, self._weights)
        return Decision(solution.weights, solution.kkt_gap, status=solution.status)
