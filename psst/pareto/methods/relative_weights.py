"""Fixed weights on losses in units of their own running means."""

from collections.abc import Sequence

import numpy as np

from psst.pareto.methods.base import StepState
from psst.pareto.methods.tradeoff import Tradeoff
from psst.pareto.solver import Decision


class RelativeWeights(Tradeoff):
    """Weights 1 on the main loss and w_i on the others, each loss in units of its running mean.

    The shared part of the model follows ``g_main + sum_i w_i (E_main / E_i) g_i`` with E the running means:
    a weight of 1 lets a task make the same relative progress as the main one, whatever the scale of its
    loss. Bounds and held scales are those of `Tradeoff`.

    Args:
        auxiliary: Weights of the auxiliary losses, none below 0.
        raw: Positions in `auxiliary` of losses that are taken as they are, such as one that starts at its
            least value.

    Raises:
        ValueError: A weight is below 0 or not finite; at `start`, there are more or fewer losses.

    Example:
        >>> method = RelativeWeights([0.3])
        >>> method.start(n_tasks=2)
    """

    def __init__(self, auxiliary: Sequence[float], raw: Sequence[int] = ()) -> None:
        super().__init__(0.0)
        self.auxiliary, self.raw = [float(weight) for weight in auxiliary], list(raw)
        if not all(0.0 <= weight < float("inf") for weight in self.auxiliary):
            raise ValueError(f"`auxiliary={self.auxiliary}` must hold finite weights, none below 0.")

    def start(self, n_tasks: int) -> None:
        """Take the weights; ValueError where their number does not fit."""
        if n_tasks != 1 + len(self.auxiliary):
            raise ValueError(
                f"`auxiliary={self.auxiliary}` weighs {len(self.auxiliary)} losses, the module has "
                f"{n_tasks - 1} beside the main one."
            )
        super().start(n_tasks)
        self._shares = np.array([1.0, *self.auxiliary])

    def decide(self, state: StepState) -> Decision:
        """The weights over the means, in units of the main task's."""
        decision = super().decide(state)
        for place in self.raw:
            decision.weights[1 + place] = self.auxiliary[place]
        return decision
