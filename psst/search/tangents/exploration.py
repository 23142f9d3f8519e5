"""Tangents between the units of a search: what is predicted is trained like any other unit, or skipped."""

import math
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from psst.pareto import Trajectory
from psst.search.protocols import Judge
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.tangents.explorer import TangentExplorer, planned_cost
from psst.search.tangents.search import Solution
from psst.search.tangents.unit import continuation, rays_through
from psst.search.unit_callbacks import KeepAt
from psst.search.work import Work, Workshop


def plan_tangents(
    names: Sequence[str], links: Sequence[tuple[int, int]], members: Sequence[int], at_most: int
) -> list[tuple[str, str]]:
    """Return the (parent, neighbor) pairs to try: gaps inside the region, then those around it.

    One tangent a gap: half way from either end is the same place. Parents are members, earlier ones first.
    """
    rank = {index: place for place, index in enumerate(members)}
    last = len(members)
    sides = [sorted(link, key=lambda index: rank.get(index, last)) for link in links]
    gaps = [side for side in sides if side[0] in rank]
    gaps.sort(key=lambda side: (side[1] not in rank, rank[side[0]]))
    return [(names[parent], names[neighbor]) for parent, neighbor in gaps[:at_most]]


def tangent_work(parent: str, neighbor: str, steps: tuple[int, int]) -> Work:
    """Predict, correct and confirm a model between two finished units; or say why not."""
    return Work(f"tangent-{parent}-{neighbor}", partial(_go, parent=parent, neighbor=neighbor), steps)


class TangentExploration:
    """Runs tangents as units of a search.

    Raises:
        ValueError: The corrector is as long as the units themselves.
    """

    def __init__(
        self, runner: UnitRunner, judge: Judge, settings: SearchSettings, folder: Path, max_steps: int
    ) -> None:
        self.runner = runner
        self.explorer = TangentExplorer(judge, settings.tangent, max_steps)
        self.settings = settings
        self.folder = folder / "tangents"
        self.stop = max_steps
        self.longest = max_steps - round(settings.warm_fraction * max_steps) - 1
        if not 1 <= settings.tangent.correct_steps <= self.longest:
            raise ValueError(
                f"`search.tangent.correct_steps={settings.tangent.correct_steps}` must lie in "
                f"[1, {self.longest}]: the corrector repeats the end of a unit that leaves the warm start."
            )
        self.tangent_steps = math.ceil(planned_cost(settings.tangent, len(judge.task_names())))

    @classmethod
    def of(cls, workshop: Workshop) -> "TangentExploration":
        """Return what runs the tangents of a search in this process."""
        runner, settings = workshop.runner, workshop.settings
        return cls(runner, workshop.judge, settings, runner.folder, workshop.max_steps)

    @property
    def keep_step(self) -> int:
        """Step at which each anchor and subproblem has to keep a checkpoint (`KeepAt`)."""
        return self.stop - self.settings.tangent.correct_steps

    def tangent(self, parent: str, neighbor: str) -> dict[str, Any]:
        """Predict, correct, confirm; return plain values, with ``skipped`` saying why nothing was trained.

        ``steps`` counts the tangent's own passes too, in steps of one forward and backward pass.
        """
        one, other = self.solution(parent), self.solution(neighbor)
        proposal = self.explorer.propose(one, other)
        trained: dict[str, Any] = {}
        if proposal.state is not None and proposal.accepted:
            kept = KeepAt.path(self.runner.unit_folder(parent), self.keep_step)
            folder = self.folder / proposal.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            rays = rays_through(one, other, proposal.place, self.keep_step)
            settings, change = self.settings, proposal.log_change
            unit, start = continuation(
                proposal.name, proposal.state, rays, kept, self.stop, folder, settings, change
            )
            trained = self.runner.train(unit, start)
            start.unlink()  # as large as the unit's own, and made anew if ever needed
            self.explorer.confirm(proposal, one.state, self.runner.state(proposal.name))
        result = trained | proposal.result()
        result["steps"] = trained.get("steps", 0) + math.ceil(proposal.cost)
        result["seconds"] = trained.get("seconds", 0.0) + proposal.seconds
        return result

    def solution(self, name: str) -> Solution:
        """Read a finished unit."""
        trajectory = Trajectory.load(self.runner.unit_folder(name) / "trajectory.npz")
        return Solution(name, self.runner.state(name), trajectory)


def _go(workshop: Workshop, parent: str, neighbor: str) -> dict[str, Any]:
    return TangentExploration.of(workshop).tangent(parent, neighbor)
