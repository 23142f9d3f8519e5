"""The stages of a search with a budget that one without has not: halving of the rays, and refinement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psst.pareto import Trajectory
from psst.search.budgets.pacer import Pacer
from psst.search.budgets.tournament import Tournament
from psst.search.explore import centered_losses, neighbors
from psst.search.graph import Graph, Node
from psst.search.progress import SearchProgress
from psst.search.protocols import Judge
from psst.search.record import Manifest
from psst.search.result import Candidate
from psst.search.settings import SearchSettings
from psst.search.tangents.search import Solution
from psst.search.tangents.unit import rays_through
from psst.search.units import Unit, ray_method
from psst.search.work import Work, training


@dataclass
class Stages:
    """Adds the nodes of these stages to the search's graph, each decision when what it needs is there.

    In the end `then` gets all units that have reached the end of their training, anchors aside.
    """

    graph: Graph
    manifest: Manifest
    judge: Judge
    pacer: Pacer
    folder: Path
    candidate: Callable[[str], Candidate]
    progress: SearchProgress
    anchors: Sequence[Unit]
    then: Callable[[list[Unit]], None]

    def begin(self, units: Sequence[Unit]) -> None:
        """Halve the rays step by step, refine the region, and go on."""
        plan = self.pacer.again("rays", self.manifest.units, len(units))
        alive = self.pacer.rays(units)
        self._stage(Tournament(alive, plan.finishers), 0, alive)

    def _stage(self, tournament: Tournament, stage: int, alive: list[Unit]) -> None:
        legs = tournament.legs(stage, alive)
        self.graph.add(*(Node(leg.unit.name, (), partial(self._begin, leg.unit, leg.work())) for leg in legs))
        decide = partial(self._decide, tournament, stage, alive)
        self.graph.add(Node(f"rung {stage + 1}", tuple(leg.unit.name for leg in legs), decide))

    def _decide(self, tournament: Tournament, stage: int, alive: list[Unit]) -> None:
        if stage + 1 == len(tournament):
            self._refine(alive)
        else:
            self._stage(tournament, stage + 1, tournament.survivors(stage, alive, self._quality))

    def _refine(self, alive: list[Unit]) -> None:
        """Lay more rays between the candidates of the region, as many as the budget still pays for."""
        count = self.pacer.again("refinement", self.manifest.units).refined
        trained = [*self.anchors, *alive]
        candidates = [self.candidate(unit.name) for unit in trained]
        points = centered_losses(candidates)
        members = self.judge.region(candidates, points)
        gaps = gaps_to_refine(points, neighbors(points), members, count)
        folders = [self.folder / "units" / unit.name for unit in trained]
        steps = (alive[0].start, alive[0].stop)
        more = refined_units(gaps, folders, self.folder, self.pacer.settings, steps) if gaps else []
        for unit in more:
            self.graph.add(Node(unit.name, (), partial(self._begin, unit, training(unit))))
        names = tuple(unit.name for unit in more)
        self.graph.add(Node("refined", names, partial(self._end, [*alive, *more])))

    def _end(self, units: list[Unit]) -> None:
        self.pacer.again("exploration", self.manifest.units)
        self.then(units)

    def _begin(self, unit: Unit, work: Work) -> Work | None:
        if self.manifest.finished(unit.name):
            self.progress.skip(unit.name, unit.steps, "finished earlier")
            return None
        return work

    def _quality(self, name: str) -> float:
        return self.judge.metric.quality(self.candidate(name).metric)


def gaps_to_refine(
    points: NDArray[np.float64], links: Sequence[tuple[int, int]], members: Sequence[int], at_most: int
) -> list[tuple[int, int]]:
    """Pairs of candidates to lay a ray between: gaps inside the region, then those at its border.

    Args:
        points: ``[n, m]``, centered logarithms of the candidates' losses.
        links: Neighbors among them.
        members: Of the region.
        at_most: Largest number of pairs.
    """
    inside = set(members)
    touching = [link for link in links if inside & set(link)]
    width = {link: float(np.linalg.norm(points[link[0]] - points[link[1]])) for link in touching}
    order = sorted(touching, key=lambda link: (len(inside & set(link)) < 2, -width[link], link))
    return order[:at_most]


def refined_units(
    gaps: Sequence[tuple[int, int]],
    folders: Sequence[Path],
    folder: Path,
    settings: SearchSettings,
    steps: tuple[int, int],
) -> list[Unit]:
    """Lay a ray half way between the ends of each gap, in ``refined/<unit>.npz``, and describe its unit."""
    units = []
    place = folder / "refined"
    place.mkdir(exist_ok=True)
    for one, other in gaps:
        ends = [
            Solution(folders[i].name, {}, Trajectory.load(folders[i] / "trajectory.npz"))
            for i in (one, other)
        ]
        name = f"refined-{ends[0].name}-{ends[1].name}"
        rays_file = place / f"{name}.npz"
        rays_through(ends[0], ends[1], 0.5, steps[0]).save(rays_file)
        units.append(Unit(name, "refined", ray_method(settings, str(rays_file), 1), *steps))
    return units
