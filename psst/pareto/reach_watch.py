"""When to stop pulling towards a ray that training does not reach."""

from collections.abc import Mapping
from typing import Any

LEAST_PATIENCE = 200


class ReachWatch:
    """Notices a ray that cannot be reached: outside its sector and no nearer (by 1%) for long.

    Args:
        run_steps: Length of the run; the patience is a tenth of it, and 200 steps at least.
    """

    def __init__(self, run_steps: int) -> None:
        self.patience = max(LEAST_PATIENCE, run_steps // 10)
        self.nearest = float("inf")
        self.unreachable = False
        self._waited = 0
        self._reference = float("inf")

    def update(self, distance: float, reached: bool) -> bool:
        """Take in one step's distance; True from the step on at which the ray is given up."""
        self.nearest = min(self.nearest, distance)
        if reached or distance < 0.99 * self._reference:
            self._reference = distance
            self._waited = 0
        else:
            self._waited += 1
        self.unreachable = self.unreachable or self._waited >= self.patience
        return self.unreachable

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "nearest": self.nearest,
            "unreachable": self.unreachable,
            "waited": self._waited,
            "reference": self._reference,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch stopped."""
        self.nearest, self.unreachable = float(state["nearest"]), bool(state["unreachable"])
        self._waited, self._reference = int(state["waited"]), float(state["reference"])
