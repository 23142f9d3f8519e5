"""What a user would want to know of a fit, said once each."""

from collections.abc import Sequence

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_warn

from psst.pareto import Decision
from psst.pareto.least_squares import Array

_STARVED, _STARVED_STEPS = 0.02, 200


class Notices:
    """Warnings of one fit of these tasks, the main one first."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._starved = np.zeros(len(names))
        self._told: set[str] = set()

    def nothing_shared(self) -> None:
        """The losses reach no parameter together."""
        self._tell(
            f"The losses {list(self.names)} share no trainable parameter so far: PSSTCallback has "
            "nothing to weight. Compute them from one backbone, and detach nothing on the way."
        )

    def look(self, decision: Decision, shares: Array | None) -> None:
        """Take in the decision of one optimizer step, and each task's share where that may warn."""
        said = decision.certificates
        if said.get("unreachable"):
            self._tell(
                "The losses came no nearer to their ray for a whole patience: PSSTCallback gives up steering "
                "and keeps the weights expected there. Take a ray between losses that runs have reached."
            )
        if said.get("held"):
            self._tell(
                "A mean loss is not positive and has no logarithm: PSSTCallback holds the last weights. Add "
                "a constant to that loss, or use a method without ratios such as `FixedWeights`."
            )
        low = np.zeros(len(self.names)) if shares is None else shares < _STARVED * float(shares.sum())
        self._starved = np.where(low, self._starved + 1, 0)
        for name, starved in zip(self.names, self._starved, strict=True):
            if starved >= _STARVED_STEPS:
                self._tell(
                    f"`losses['{name}']` had a weight below {_STARVED} for {_STARVED_STEPS} steps: that task "
                    "is hardly trained. Bring the losses to like sizes, or use `tradeoff` or fixed weights."
                )
        levels = np.asarray(said.get("unreachable_level", np.zeros(len(self.names))))
        for name, missed in zip(self.names, levels, strict=True):
            if missed:
                self._tell(
                    f"`levels['{name}']` was not reached for a whole patience, and its loss comes no nearer: "
                    "raise the level, or train longer."
                )

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            rank_zero_warn(message)
