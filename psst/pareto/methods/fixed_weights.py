"""The weighted sum: anchors and baselines."""

from collections.abc import Sequence

import numpy as np

from psst.pareto.methods.base import Method, StepState
from psst.pareto.solver import Decision


class FixedWeights(Method):
    """Weights ``(1, w_1, ..., w_{m-1}) / (1 + sum w)``, whatever the gradients are; 0 is plain training.

    Args:
        auxiliary: Weights w of the auxiliary tasks relative to the main one; a single number serves all of
            them.

    Raises:
        ValueError: If a weight is negative or not finite.

    Example:
        >>> method = FixedWeights([0.5, 0.5])
        >>> method.start(n_tasks=3)
    """

    needs_gramian = False
    may_starve = False

    def __init__(self, auxiliary: Sequence[float] | float = 0.3) -> None:
        try:
            values = np.atleast_1d(np.asarray(auxiliary, dtype=np.float64))
        except (TypeError, ValueError):
            values = np.full(1, np.nan)
        plain = not isinstance(auxiliary, bool | str)
        if not plain or values.ndim != 1 or not (np.isfinite(values).all() and (values >= 0.0).all()):
            raise ValueError(
                f"`auxiliary={auxiliary!r}` must be finite and not negative; use 0 for plain training."
            )
        self.auxiliary = auxiliary
        self._values = values

    def start(self, n_tasks: int) -> None:
        """Raises ValueError if the number of weights is not that of the auxiliary tasks."""
        values = np.repeat(self._values, n_tasks - 1) if np.ndim(self.auxiliary) == 0 else self._values
        if len(values) != n_tasks - 1:
            raise ValueError(
                f"`auxiliary={self.auxiliary}` has {len(values)} weights for {n_tasks - 1} auxiliary tasks; "
                "give one weight for each, or a single number for all."
            )
        unnormalized = np.concatenate([np.ones(1), values])
        self._weights = unnormalized / unnormalized.sum()

    def decide(self, state: StepState) -> Decision:
        """The same weights in every step."""
        return Decision(self._weights)
