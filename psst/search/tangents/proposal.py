"""What a tangent begins with, and what it comes to: a predicted model, or the gate that stopped it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.pareto import Trajectory
from psst.search.explore import State
from psst.tangents.gates import Verdict

__all__ = ["Proposal", "Solution"]


@dataclass(frozen=True, eq=False)
class Solution:
    """A finished unit: where a tangent begins, or where it leads to.

    Args:
        name: The unit's.
        state: Parameters and buffers.
        trajectory: Of its training, with its mean weights.
    """

    name: str
    state: State
    trajectory: Trajectory


@dataclass(eq=False)
class Proposal:
    """A predicted model, or the reason why there is none.

    Attributes:
        parent: Name of the unit it comes from.
        neighbor: Name of the unit towards which it goes.
        verdicts: Of the gates, in the order they were asked; the first that fails ends the proposal.
        state: Of the predicted model, BatchNorm recalibrated; None if a gate has failed.
        place: How far towards the neighbor, shortened steps taken into account.
        log_change: ``[m]`` measured change of the logs of the losses on fresh batches.
        predicted: ``[m]`` change of the losses by the first-order model.
        details: Plain values of the tangent, for the manifest.
        cost: In steps: forward and backward passes over one batch, all tasks.
        seconds: It took.
    """

    parent: str
    neighbor: str
    verdicts: list[Verdict] = field(default_factory=list)
    state: State | None = None
    place: float = 0.0
    log_change: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    cost: float = 0.0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Of the unit that corrects it."""
        return f"tangent-{self.parent}-{self.neighbor}"

    @property
    def accepted(self) -> bool:
        """Whether all gates have passed so far."""
        return self.state is not None and all(verdict.passed for verdict in self.verdicts)

    @property
    def reason(self) -> str:
        """Why it was skipped; empty if it was not."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        return f"{failed[0].gate}: {failed[0].reason}" if failed else ""

    def add(self, verdict: Verdict) -> bool:
        """Note a verdict; return whether it passed."""
        self.verdicts.append(verdict)
        return verdict.passed

    def result(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        gates = {
            verdict.gate: {"passed": verdict.passed, "value": verdict.value, "reason": verdict.reason}
            for verdict in self.verdicts
        }
        return {
            "kind": "explored",
            "way": "tangent",
            "parents": {self.parent: 1.0},
            "neighbor": self.neighbor,
            "place": self.place,
            "accepted": self.accepted,
            "skipped": self.reason,
            "gates": gates,
            "tangent_steps": self.cost,
            "tangent_seconds": self.seconds,
            **self.details,
        }
