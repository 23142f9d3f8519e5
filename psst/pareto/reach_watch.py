"""When to stop pulling towards a ray that training does not reach."""

from collections.abc import Mapping
from typing import Any

LEAST_PATIENCE = 200
LEAST_PROGRESS = 0.01


class ReachWatch:
    """Notices a ray that cannot be reached: a whole patience outside its sector and on average no nearer.

    Distances are averaged over the last halves of stretches as long as the patience. A ray is given up at the
    end of a stretch whose mean is not below that of the stretch before by 1% at least, if neither of the two
    touched the sector. The first stretch is held against its farthest point. So neither a detour nor swinging
    about the sector ends the pull, and the noise of single steps hardly matters.

    Args:
        run_steps: Length of the run; the patience is a tenth of it, and 200 steps at least.
    """

    def __init__(self, run_steps: int) -> None:
        self.patience = max(LEAST_PATIENCE, run_steps // 10)
        self.nearest = float("inf")
        self.unreachable = False
        self._reference = 0.0
        self._first = True
        self._touched = [False, False]
        self._sum = 0.0
        self._count = 0

    def update(self, distance: float, reached: bool) -> bool:
        """Take in one step's distance; True from the step on at which the ray is given up."""
        self.nearest = min(self.nearest, distance)
        if self._first:
            self._reference = max(self._reference, distance)
        self._touched[-1] = self._touched[-1] or reached
        self._count += 1
        if 2 * self._count > self.patience:
            self._sum += distance
        if self._count == self.patience:
            mean = self._sum / (self.patience - self.patience // 2)
            nearer = mean < (1.0 - LEAST_PROGRESS) * self._reference
            self.unreachable = self.unreachable or not (nearer or any(self._touched))
            self._reference, self._first, self._sum, self._count = mean, False, 0.0, 0
            self._touched = [self._touched[-1], False]
        return self.unreachable

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "nearest": self.nearest,
            "unreachable": self.unreachable,
            "reference": self._reference,
            "first": self._first,
            "touched": list(self._touched),
            "sum": self._sum,
            "count": self._count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch stopped."""
        self.nearest, self.unreachable = float(state["nearest"]), bool(state["unreachable"])
        self._reference, self._first = float(state["reference"]), bool(state["first"])
        self._touched = [bool(touched) for touched in state["touched"]]
        self._sum, self._count = float(state["sum"]), int(state["count"])
