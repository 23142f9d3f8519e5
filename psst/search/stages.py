"""The stages of a search with a budget that one without has not: halving of the rays, and refinement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psst.search.budgets.pacer import Pacer
from psst.search.budgets.refine import gaps_to_refine, refined_units
from psst.search.budgets.tournament import Leg, Tournament
from psst.search.graph import Graph, Node
from psst.search.manifest import Manifest
from psst.search.protocols import Judge
from psst.search.region import neighbors
from psst.search.result import Candidate
from psst.search.units import Unit
from psst.search.work import Training, Work

__all__ = ["Stages"]

Then = Callable[[list[Unit]], None]


@dataclass
class Stages:
    """Adds the nodes of these stages to the search's graph, each decision when what it needs is there.

    Args:
        graph: Of the search.
        manifest: Of the search.
        judge: Of the search.
        pacer: Decides how much of everything is done.
        folder: Of the search.
        candidate: Reads a finished unit.
        place: Centered logarithms of the losses of candidates, ``[n, m]``.
        skipped: Told of units that were finished earlier.
    """

    graph: Graph
    manifest: Manifest
    judge: Judge
    pacer: Pacer
    folder: Path
    candidate: Callable[[str], Candidate]
    place: Callable[[Sequence[Candidate]], NDArray[np.float64]]
    skipped: Callable[[Unit], None]

    def subproblems(self, anchors: Sequence[Unit], units: Sequence[Unit], then: Then) -> None:
        """Halve the rays step by step, refine the region, and call `then` with all that reached the end.

        Args:
            anchors: Trained.
            units: The subproblems.
            then: Gets the finished subproblems and the refined ones.
        """
        plan = self.pacer.again("rays", self.manifest.units, len(units))
        alive = self.pacer.rays(units)
        self._stage(Tournament(alive, plan.finishers), 0, alive, (anchors, then))

    def _stage(
        self, tournament: Tournament, stage: int, alive: list[Unit], rest: tuple[Sequence[Unit], Then]
    ) -> None:
        legs = tournament.legs(stage, alive)
        self.graph.add(*(Node(leg.name, (), partial(self._begin, leg.unit, leg)) for leg in legs))
        decide = partial(self._decide, tournament, stage, alive, rest)
        self.graph.add(Node(f"rung {stage + 1}", tuple(leg.name for leg in legs), decide))

    def _decide(
        self, tournament: Tournament, stage: int, alive: list[Unit], rest: tuple[Sequence[Unit], Then]
    ) -> None:
        if stage + 1 == len(tournament):
            self._refine([*rest[0], *alive], alive, rest[1])
            return
        going_on = tournament.survivors(stage, alive, self._quality)
        self._stage(tournament, stage + 1, going_on, rest)

    def _refine(self, trained: Sequence[Unit], subproblems: list[Unit], then: Then) -> None:
        """Lay more rays between the candidates of the region, as many as the budget still pays for."""
        count = self.pacer.again("refinement", self.manifest.units).refined
        candidates = [self.candidate(unit.name) for unit in trained]
        points = self.place(candidates)
        members = self.judge.region(candidates, points)
        gaps = gaps_to_refine(points, neighbors(points), members, count)
        folders = [self.folder / "units" / unit.name for unit in trained]
        steps = (subproblems[0].start, subproblems[0].stop)
        more = refined_units(gaps, folders, self.folder, self.pacer.settings, steps) if gaps else []
        for unit in more:
            self.graph.add(Node(unit.name, (), partial(self._begin, unit, Training(unit))))
        names = tuple(unit.name for unit in more)
        self.graph.add(Node("refined", names, partial(self._end, [*subproblems, *more], then)))

    def _end(self, units: list[Unit], then: Then) -> None:
        self.pacer.again("exploration", self.manifest.units)
        then(units)

    def _begin(self, unit: Unit, work: Leg | Training) -> Work | None:
        if self.manifest.finished(unit.name):
            self.skipped(unit)
            return None
        return work

    def _quality(self, name: str) -> float:
        return self.judge.metric.quality(self.candidate(name).metric)
