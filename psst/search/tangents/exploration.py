"""Tangents between the units of a search: what is predicted is trained like any other unit, or skipped."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psst.pareto import Trajectory
from psst.search.protocols import Judge
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings, TangentSettings
from psst.search.tangents.explorer import TangentExplorer, planned_cost
from psst.search.tangents.search import Solution
from psst.search.tangents.unit import Continuation, correction, rival
from psst.search.unit_callbacks import kept_checkpoint
from psst.search.work import Workshop


def plan_tangents(
    names: Sequence[str], links: Sequence[tuple[int, int]], members: Sequence[int], at_most: int
) -> list[tuple[str, str]]:
    """Return the (parent, neighbor) pairs to try: gaps inside the region, then those around it.

    One tangent a gap: half way from either end is the same place. Parents are members, earlier ones first.

    Args:
        names: The n candidates.
        links: Neighboring pairs of candidates.
        members: Indices of the region's candidates, the best first.
        at_most: Largest number of tangents.
    """
    rank = {index: place for place, index in enumerate(members)}
    last = len(members)
    sides = [sorted(link, key=lambda index: rank.get(index, last)) for link in links]
    gaps = [side for side in sides if side[0] in rank]
    gaps.sort(key=lambda side: (side[1] not in rank, rank[side[0]]))
    return [(names[parent], names[neighbor]) for parent, neighbor in gaps[:at_most]]


def tangent_steps(
    folders: Sequence[Path],
    links: Sequence[tuple[int, int]],
    members: Sequence[int],
    steps: tuple[int, int, int],
    settings: SearchSettings,
    at_most: int,
) -> list["TangentStep | NeighboringRay"]:
    """Plan tangents as work, each with its rival if it has one; see `plan_tangents`.

    Args:
        folders: Of the n candidates; what was trained by halves lacks the checkpoints to go on from.
        links: Neighboring pairs of candidates.
        members: Indices of the region's candidates, the best first.
        steps: Where the rival and the corrector begin, and where both end.
        settings: Of the search.
        at_most: Largest number of tangents.
    """
    *keep, end = steps
    begun = [i for i in members if all(kept_checkpoint(folders[i], step).is_file() for step in keep)]
    planned: list[TangentStep | NeighboringRay] = []
    for pair in plan_tangents([folder.name for folder in folders], links, begun, at_most):
        planned.append(TangentStep(*pair, settings.tangent, (steps[1], end)))
        if settings.rivals:
            planned.append(NeighboringRay(*pair, settings.tangent, (steps[0], end)))
    return planned


class TangentExploration:
    """Runs tangents and their rivals as units of a search.

    Args:
        runner: Trains units.
        judge: Gives losses.
        settings: Of the search.
        tangent: Of the tangents.
        folder: Of the search; rays and starting points are kept in ``tangents/<unit>``.
        warm_steps: Step at which every unit leaves the warm start.
        stop: Step at which every unit ends, T.
        n_tasks: m.

    Raises:
        ValueError: The corrector is as long as the units themselves.
    """

    def __init__(
        self,
        runner: UnitRunner,
        judge: Judge,
        settings: SearchSettings,
        tangent: TangentSettings,
        folder: Path,
        warm_steps: int,
        stop: int,
        n_tasks: int,
    ) -> None:
        self.runner = runner
        self.explorer = TangentExplorer(judge, tangent, stop)
        self.settings = settings
        self.folder = folder / "tangents"
        self.stop = stop
        longest = stop - warm_steps - 1
        if not 1 <= tangent.correct_steps <= longest:
            raise ValueError(
                f"`search.tangent.correct_steps={tangent.correct_steps}` must lie in [1, {longest}]: "
                "the corrector repeats the end of a unit that starts from the warm start."
            )
        planned = math.ceil(planned_cost(tangent, n_tasks))
        self.tangent_steps = planned
        self.rival_steps = min(planned, longest)

    @property
    def keep_steps(self) -> tuple[int, int]:
        """Steps at which each anchor and subproblem has to keep a checkpoint (`KeepAt`)."""
        return self.stop - self.rival_steps, self.stop - self.explorer.settings.correct_steps

    def tangent(self, parent: str, neighbor: str) -> dict[str, Any]:
        """Predict, correct, confirm; return plain values, with ``skipped`` saying why nothing was trained.

        ``steps`` counts the tangent's own passes too, in steps of one forward and backward pass.
        """
        one, other = self._solution(parent), self._solution(neighbor)
        proposal = self.explorer.propose(one, other)
        trained: dict[str, Any] = {}
        if proposal.accepted:
            kept = kept_checkpoint(self.runner.unit_folder(parent), self.keep_steps[1])
            place = self._place(proposal.name)
            plan = correction(proposal, one, other, kept, self.stop, place, self.settings)
            trained = self._train(plan)
            self.explorer.confirm(proposal, one.state, self.runner.state(proposal.name))
        result = trained | proposal.result()
        result["steps"] = trained.get("steps", 0) + math.ceil(proposal.cost)
        result["seconds"] = trained.get("seconds", 0.0) + proposal.seconds
        return result

    def rival(self, parent: str, neighbor: str) -> dict[str, Any]:
        """Train on the same ray from the parent's end, for as many steps as a tangent may cost."""
        one, other = self._solution(parent), self._solution(neighbor)
        kept = kept_checkpoint(self.runner.unit_folder(parent), self.keep_steps[0])
        name = f"neighbor-{parent}-{neighbor}"
        at = self.explorer.settings.place
        plan = rival(one, other, at, kept, self.stop, self._place(name), self.settings)
        described = {"way": "neighboring ray", "parents": {parent: 1.0}, "neighbor": neighbor, "place": at}
        return self._train(plan) | described | {"accepted": True}

    def _train(self, plan: Continuation) -> dict[str, Any]:
        result = self.runner.train(plan.unit, plan.checkpoint)
        plan.checkpoint.unlink()  # as large as the unit's own, and made anew if ever needed
        return result

    def _solution(self, name: str) -> Solution:
        trajectory = Trajectory.load(self.runner.unit_folder(name) / "trajectory.npz")
        return Solution(name, self.runner.state(name), trajectory)

    def _place(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class _Gap:
    """Between two finished units.

    Args:
        parent: Name of the unit that the work comes from.
        neighbor: Name of the unit towards which it goes.
        settings: Of the tangent.
        steps: First and last step of what is trained.
    """

    parent: str
    neighbor: str
    settings: TangentSettings
    steps: tuple[int, int]


class TangentStep(_Gap):
    """Predict, correct and confirm a model between two finished units; or say why not."""

    @property
    def name(self) -> str:
        """Of the unit."""
        return f"tangent-{self.parent}-{self.neighbor}"

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Return what validation says, and ``accepted``; or ``skipped``."""
        return open_exploration(workshop, self.settings).tangent(self.parent, self.neighbor)


class NeighboringRay(_Gap):
    """Train on the same ray without a tangent, for as many steps as one may cost."""

    @property
    def name(self) -> str:
        """Of the unit."""
        return f"neighbor-{self.parent}-{self.neighbor}"

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Return what validation says."""
        return open_exploration(workshop, self.settings).rival(self.parent, self.neighbor)


def open_exploration(workshop: Workshop, settings: TangentSettings) -> TangentExploration:
    """Return what runs tangents in a process; ValueError where units are too short for a corrector."""
    return TangentExploration(
        workshop.runner,
        workshop.judge,
        workshop.settings,
        settings,
        workshop.runner.folder,
        round(workshop.settings.warm_fraction * workshop.max_steps),
        workshop.max_steps,
        len(workshop.judge.task_names()),
    )
