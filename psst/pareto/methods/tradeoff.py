"""A trade-off in one number, without a search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Decision, Method, StepState
from psst.pareto.ray_set import RESOLUTION
from psst.pareto.solver import nearest
from psst.pareto.subproblem import Subproblem, dead_zone

MAIN_FLOOR = 0.05
LEAN = 0.2
UNIT = 0.25


class Tradeoff(Method):
    """Equal weights during a warm-up, then a ray tilted by `tradeoff` round the losses the warm-up reached.

    With t = `tradeoff`, the ray lies at ``c + 0.2 (2 t - 1) (e_main - 1/m)``, c the warm-up's last
    coordinates: at 0.5 every task keeps its share of the progress, below it the main loss has to lead, above
    it the auxiliary ones. Weights are tilted round the prior ``max(1 - t, 0.05)`` for the main task, the rest
    in equal parts. At exactly 0 all weight is on the main task from the first step on; at 1 the main task
    keeps 5%, for a shared part that does not serve it at all answers no question about it. A log-ratio a
    quarter away from the ray counts as one unit of error. Balance that the training does not allow is given
    up (see `Subproblem`), the prior remains.

    Args:
        tradeoff: 0 main task only, 1 auxiliary tasks (almost) only.
        warmup_steps: Steps with equal weights.

    Raises:
        ValueError: If `tradeoff` is outside [0, 1] or `warmup_steps` negative.
    """

    def __init__(self, tradeoff: float = 0.5, warmup_steps: int = 200) -> None:
        if not 0.0 <= tradeoff <= 1.0:
            raise ValueError(
                f"`tradeoff={tradeoff}` must be in [0, 1]; 0 is the main task only, 0.5 a balance."
            )
        if warmup_steps < 0:
            raise ValueError(f"`warmup_steps={warmup_steps}` must not be negative; 0 goes without warm-up.")
        self.tradeoff = tradeoff
        self.warmup_steps = warmup_steps
        self._seen = 0
        self._late: list[list[float]] = []
        self._subproblem = Subproblem(0)

    def start(self, n_tasks: int) -> None:
        """The prior for that many tasks; ValueError if there is none."""
        if n_tasks < 1:
            raise ValueError(f"`losses` must hold a main task, got {n_tasks} tasks.")
        main = 1.0 if self.tradeoff == 0.0 or n_tasks == 1 else max(1.0 - self.tradeoff, MAIN_FLOOR)
        self._prior = np.full(n_tasks, (1.0 - main) / max(n_tasks - 1, 1))
        self._prior[0] = main

    def decide(self, state: StepState) -> Decision:
        """Equal weights, then the tilted prior."""
        centered = centered_log(state.log_losses)
        self._seen += 1
        certificates: dict[str, float | Array] = {}
        if self.tradeoff == 0.0:
            target = self._prior
        elif self._seen <= self.warmup_steps:
            target = np.full(len(centered), 1.0 / len(centered))
            self._remember(centered)
        else:
            if not self._late:
                self._remember(centered)
            target, certificates = self._aim(centered)
        solution = nearest(state.gramian, target)
        return Decision(solution.weights, solution.kkt_gap, certificates, solution.status)

    def _remember(self, centered: Array) -> None:
        """Keep the last half of the warm-up."""
        if 2 * self._seen >= self.warmup_steps:
            self._late.append([float(value) for value in centered])

    def _aim(self, centered: Array) -> tuple[Array, dict[str, float | Array]]:
        lean = np.full(len(centered), -1.0 / len(centered))
        lean[0] += 1.0
        ray = np.array(self._late[-1]) + LEAN * (2.0 * self.tradeoff - 1.0) * lean
        sd = self._noise()
        unit = max(UNIT, RESOLUTION * sd)
        error = (centered - ray) / unit
        aim = self._subproblem.aim(error, self._prior, dead_zone(sd, unit), float(np.abs(error).max()) <= 0.5)
        return aim.target, aim.certificates

    def _noise(self) -> float:
        """Spread of the warm-up's last half round a line, of the noisiest coordinate."""
        late = np.array(self._late)
        if len(late) < 4:
            return 0.0
        time = np.linspace(-1.0, 1.0, len(late))[:, None]
        late = late - late.mean(axis=0)
        residual = late - time * (time * late).sum(axis=0) / (time**2).sum()
        return float(np.sqrt((residual**2).sum(axis=0) / (len(late) - 2)).max())

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: the warm-up's coordinates and the counters."""
        late = [list(row) for row in self._late]
        return {"seen": self._seen, "late": late, "subproblem": self._subproblem.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, in the warm-up or after it."""
        self._seen = int(state["seen"])
        self._late = [[float(value) for value in row] for row in state["late"]]
        self._subproblem.load_state_dict(state["subproblem"])
