"""Exploration of a trained model along the second-order tangent of its front (design rule 3.11).

References:
    Ma, Du and Matusik, Efficient Continuous Pareto Exploration, ICML 2020. Amakor, Sonntag and Peitz,
    Interactive Pareto navigation for deep multi-task learning, arXiv 2606.19521, 2026. Departures: BatchNorm
    and dropout frozen and the batches fixed within a solve, steps sized in losses, a corrector, and gates
    each of which must pass.
"""

import time

import numpy as np
from numpy.typing import NDArray

from psst.search.explore import State
from psst.search.protocols import Judge
from psst.search.settings import TangentSettings
from psst.search.tangents.search import FORWARD, Proposal, Solution, TangentSearch
from psst.tangents.curvature import GRAPH_STEPS, PRODUCT_STEPS
from psst.tangents.gates import Verdict, confirmed


def planned_cost(settings: TangentSettings, n_tasks: int) -> float:
    """The most steps that a tangent can cost for m tasks, its corrector included."""
    products = (n_tasks - 1) * (settings.iterations + (settings.damping > 0)) + 1
    made = GRAPH_STEPS if settings.keep_graphs else 0.0
    per_batch = made + PRODUCT_STEPS[settings.keep_graphs] * products
    forwards = (1 + len(TangentSearch.lengths)) * settings.batches + 4 * settings.check_batches
    forwards += 3 * settings.recalibration_batches
    trained = settings.batches + settings.correct_steps
    return trained + per_batch * settings.curvature_batches + FORWARD * forwards


class TangentExplorer:
    """Predicts models between neighbors, gate by gate, the cheap gates first.

    `first_batch` is the number of the first batch that no training has used.
    """

    def __init__(self, judge: Judge, settings: TangentSettings, first_batch: int) -> None:
        self.judge = judge
        self.settings = settings
        self._recalibration = first_batch
        self._fixed = first_batch + settings.recalibration_batches
        self._halves = [self._fixed, self._fixed + settings.batches // 2]
        self._first_check = self._fixed + settings.batches
        self._last_check = self._first_check + settings.check_batches

    def propose(self, parent: Solution, neighbor: Solution) -> Proposal:
        """Predict a model `place` of the way from `parent` to `neighbor`."""
        proposal, began = Proposal(parent.name, neighbor.name), time.monotonic()
        settings = self.settings
        half = settings.batches // 2
        here, there = self._recalibrated(proposal, parent.state), self._recalibrated(proposal, neighbor.state)
        losses = [self.judge.fresh_losses({"there": there}, start, half)["there"] for start in self._halves]
        proposal.cost += FORWARD * 2 * half
        search = TangentSearch(proposal, settings, np.concatenate(losses).mean(axis=0))
        predicted = self.judge.on_batches(here, self._halves, half, search)
        if predicted is not None:
            self._confirm_prediction(proposal, here, self._recalibrated(proposal, predicted))
        proposal.seconds = time.monotonic() - began
        return proposal

    def confirm(self, proposal: Proposal, parent: State, corrected: State) -> Verdict:
        """Ask again, on batches of their own, once the corrector has run; noted in the proposal."""
        assert proposal.predicted is not None, "only a proposal that was accepted is corrected"
        before, after = self._check({"parent": parent, "corrected": corrected}, self._last_check)
        proposal.cost += 2 * FORWARD * self.settings.check_batches
        verdict = confirmed(after - before, before.mean(axis=0), proposal.predicted)
        verdict = Verdict("correction", verdict.passed, verdict.value, verdict.reason)
        proposal.add(verdict)
        return verdict

    def _confirm_prediction(self, proposal: Proposal, parent: State, predicted: State) -> None:
        before, after = self._check({"parent": parent, "predicted": predicted}, self._first_check)
        proposal.cost += 2 * FORWARD * self.settings.check_batches
        assert proposal.predicted is not None
        means = np.stack([before.mean(axis=0), after.mean(axis=0)])
        if proposal.add(confirmed(after - before, means[0], proposal.predicted)):
            proposal.state = predicted
            proposal.log_change = np.log(means[1] / means[0])
            proposal.details["log_change"] = proposal.log_change.tolist()

    def _recalibrated(self, proposal: Proposal, state: State) -> State:
        """All models get BatchNorm statistics of the same batches, so that only their parameters differ."""
        proposal.cost += FORWARD * self.settings.recalibration_batches
        return self.judge.recalibrated(state, self._recalibration, self.settings.recalibration_batches)

    def _check(self, states: dict[str, State], start: int) -> list[NDArray[np.float64]]:
        losses = self.judge.fresh_losses(states, start, self.settings.check_batches)
        return [losses[name] for name in states]
