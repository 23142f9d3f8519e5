"""Gradients, gates and MINRES on a module's fixed batches: from a trained model to a predicted one.

A proposal is that model, or the gate that stopped it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule

from psst.pareto import Trajectory, min_norm
from psst.pareto.coordinates import centered_log, first_without_log
from psst.search.explore import State
from psst.search.settings import TangentSettings
from psst.tangents.curvature import BatchLosses, WeightedHessian, split
from psst.tangents.front_gradients import FrontGradients, front_gradients
from psst.tangents.gates import Verdict, critical, curved, fall_weights, reliable, solved
from psst.tangents.tangent import Tangent, tangent

FORWARD = 0.4
"""Cost of a forward pass without gradients, in steps of a forward and a backward pass."""
_KEPT_PROMISE = 0.5
"""Share of the fall promised by the model that a step must bring on the batches it was made from."""
_NO_SECOND_DERIVATIVE = ("derivative", "differentiate twice", "not implemented")
"""What the errors of such operations say."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A finished unit: where a tangent begins, or where it leads to."""

    name: str
    state: State
    trajectory: Trajectory


@dataclass(eq=False)
class Proposal:
    """A predicted model, or the reason why there is none."""

    parent: str  # name of the unit it comes from
    neighbor: str  # name of the unit towards which it goes
    verdicts: list[Verdict] = field(default_factory=list)  # of the gates; the first that fails ends it
    state: State | None = None  # predicted, BatchNorm recalibrated; None if a gate has failed
    place: float = 0.0  # how far towards the neighbor, shortened steps counted
    log_change: NDArray[np.float64] | None = None  # ``[m]`` measured on fresh batches
    predicted: NDArray[np.float64] | None = None  # ``[m]`` change of the losses, to first order
    details: dict[str, Any] = field(default_factory=dict)  # plain values of the tangent, for the manifest
    cost: float = 0.0  # in forward and backward passes over one batch, all tasks
    seconds: float = 0.0  # it took

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


class TangentSearch:
    """What is done with the parent's graphs; called by the judge. The proposal gets verdicts and costs.

    `neighbor` ``[m]`` are the neighbor's losses on the same batches.
    """

    lengths = (1.0, 0.5, 0.25)  # parts of the predicted step that are tried, longest first

    def __init__(self, proposal: Proposal, settings: TangentSettings, neighbor: NDArray[np.float64]) -> None:
        self.proposal = proposal
        self.settings = settings
        self.neighbor = neighbor
        self._add = proposal.add

    def __call__(self, module: LightningModule, halves: list[list[BatchLosses]]) -> State | None:
        """Return the predicted state, on the CPU; None where a gate has failed."""
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        gradients = front_gradients(halves, parameters)
        batches = [batch for pair in zip(*halves, strict=True) for batch in pair]  # some of either half first
        self.proposal.cost += len(batches)
        step = self._step(gradients, batches, parameters)
        if step is None:
            return None
        self._move(step, gradients.mean_losses, batches, parameters)
        return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}

    def _step(
        self, gradients: FrontGradients, batches: list[BatchLosses], parameters: Sequence[torch.Tensor]
    ) -> Tangent | None:
        """The tangent, if every gate on the batches it is made from lets it pass."""
        losses, weights = gradients.mean_losses, min_norm(gradients.gramian).weights
        self.proposal.details["critical_weights"] = weights.tolist()
        if not self._may_begin(gradients, losses, weights):
            return None
        count, keep = self.settings.curvature_batches, self.settings.keep_graphs
        hessian = WeightedHessian(batches[:count], parameters, weights.tolist(), keep)
        try:
            step = self._solve(gradients, hessian, losses)
        except RuntimeError as error:
            if not any(words in str(error) for words in _NO_SECOND_DERIVATIVE):
                raise
            self._add(Verdict("second derivatives", False, math.nan, str(error).splitlines()[0]))
            return None
        finally:
            self.proposal.cost += hessian.steps
        self._describe(step, losses)
        verdicts = [curved(step), solved(step), reliable(gradients, step.beta)]
        passed = [self._add(verdict) for verdict in verdicts]  # all are told, whatever the first says
        return step if all(passed) else None

    def _may_begin(
        self, gradients: FrontGradients, losses: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> bool:
        """Ask what can be known before any product with the Hessian."""
        for owner, values in (("parent", losses), ("neighbor", self.neighbor)):
            if first_without_log(values) is not None:
                reason = f"losses {values.tolist()} of the {owner} have no logarithms"
                return self._add(Verdict("losses", False, float(values.min()), reason))
        if not self._add(critical(gradients, weights)):
            return False
        only = reliable(gradients, np.array([1.0, -1.0])) if len(losses) == 2 else None
        return only is None or only.passed or self._add(only)  # of two tasks, all betas give one side

    def _solve(
        self, gradients: FrontGradients, hessian: WeightedHessian, losses: NDArray[np.float64]
    ) -> Tangent:
        settings = self.settings
        towards = settings.place * (centered_log(np.log(self.neighbor)) - centered_log(np.log(losses)))
        limits = (settings.damping, settings.tolerance, settings.iterations)
        return tangent(gradients.jacobian, hessian, losses, towards, *limits)

    def _describe(self, step: Tangent, losses: NDArray[np.float64]) -> None:
        self.proposal.predicted = step.change
        self.proposal.details |= {
            "beta": step.beta.tolist(),
            "predicted_log_change": (step.change / losses).tolist(),
            "curvature": step.curvature,
            "least_curvature": step.least_curvature,
            "residual": step.residual,
            "iterations": step.iterations,
            "products": step.products,
        }

    def _move(
        self,
        step: Tangent,
        losses: NDArray[np.float64],
        batches: list[BatchLosses],
        parameters: Sequence[torch.Tensor],
    ) -> None:
        """Take the longest part of the step that keeps half of its promise on its own batches."""
        falls = fall_weights(losses, step.change)
        promised = float((step.change / losses) @ falls)
        taken = 0.0
        for length in self.lengths:
            with torch.no_grad():
                for parameter, part in zip(parameters, split(step.direction, parameters), strict=True):
                    parameter.add_(part, alpha=length - taken)
                moved = np.mean([[float(loss) for loss in batch()] for batch in batches], axis=0)
            taken = length
            self.proposal.cost += FORWARD * len(batches)
            if float((moved / losses - 1.0) @ falls) <= _KEPT_PROMISE * length * promised:
                break
        self.proposal.place = taken * self.settings.place
        self.proposal.predicted = taken * step.change
