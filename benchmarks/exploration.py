"""What exploration adds to a finished search: averages, tangents, neighboring rays, subproblems trained anew.

    python benchmarks/exploration.py --search runs/mini-0 runs/mini-1 runs/mini-2 --output runs/exploration

Each folder is the output of one `psst search` with its own `--seed_everything`; nothing is written there. The
base set is its anchors and subproblems. In each gap beside the one that is best on validation:

- averages: of the two ends at the search's `mixes`, and of the region where it has more than two members;
- tangents: predicted, corrected and confirmed, or skipped by a gate; `--open` adds that of the first gap with
  the gate of criticality open;
- neighboring rays: from the parent's end, for as many steps as a tangent may cost, on the ray half way;
  `--fixed` adds those with the fixed weights at which that ray is expected to be in balance, and beside
  them the parent itself, trained on with its own weights for as many steps;
- subproblems anew: from the warm start on the same ray.

Every number is of validation; the test is not touched. Finished points are kept: start it again to go on.
`--report` prints the tables: hypervolume of base and added set (losses in units of the anchors' ranges above
their best, reference point 1.1 in each), best accuracy, cost; differences are paired by seed. A cost in steps
counts forward passes as 0.4; averages pay for their recalibration and checks, tangents for all their passes.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exploration_tables import Explored, report, report_cost

import psst.search.tangents.search
from psst.files import write_atomic
from psst.pareto import Trajectory
from psst.search.budgets.stages import refined_units
from psst.search.episode_judge import EpisodeJudge
from psst.search.explore import Mix, centered_losses, neighbors, plan_mixes
from psst.search.result import Candidate
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.tangents.exploration import TangentExploration
from psst.search.tangents.search import FORWARD
from psst.search.tangents.unit import continuation, rays_through
from psst.search.unit_callbacks import KeepAt
from psst.search.units import Unit, fixed_weights
from psst.search.work import Workshop, mixing
from psst.tangents.gates import critical
from psst.training.experiment import Experiment

Result = dict[str, Any]
FOUND = "exploration.json"
OPEN, FIXED, CONTINUED = "open-", "fixed-", "continued-"


@dataclass
class Plan:
    """Where one search is explored.

    Attributes:
        base: Its anchors and subproblems.
        best: Index of the one that is best on validation.
        gaps: (parent, neighbor): the best and each of its neighbors.
        region: Indices of the region's members.
    """

    base: list[Candidate]
    best: int
    gaps: list[tuple[int, int]]
    region: list[int]

    def names(self, gap: tuple[int, int]) -> tuple[str, str]:
        """Of parent and neighbor."""
        return self.base[gap[0]].name, self.base[gap[1]].name


class Exploration:
    """All points of one search.

    Args:
        search: Its folder.
        folder: For what is added.
        cache: Folder of the image store; as in the search's configuration if None.
    """

    def __init__(self, search: Path, folder: Path, cache: str | None = None) -> None:
        self.search, self.folder = search.resolve(), folder.resolve()
        overrides = {"data.init_args.cache_dir": cache} if cache else {}
        config = self.search / "units" / "warm" / "config.yaml"
        self.experiment = Experiment.from_config(config, overrides, SearchSettings)
        self.settings: SearchSettings = self.experiment.settings()
        self.judge = EpisodeJudge(self.experiment)
        self.workshop = Workshop(self.experiment, self.judge, self.settings, self.folder)
        self.stop = self.experiment.max_steps
        self.warm = round(self.settings.warm_fraction * self.stop)
        self.found: dict[str, Result] = read_json(self.folder / FOUND)
        self.plan = self._plan()
        self._repeating = 0.0

    def _plan(self) -> Plan:
        """Copy what is needed of the search, and choose where to explore."""
        units = read_json(self.search / "manifest.json")["units"]
        names = [name for name, unit in units.items() if unit["kind"] in ("anchor", "subproblem")]
        for name in ("warm", *names):
            place = self.workshop.runner.unit_folder(name)
            if not place.is_dir():
                shutil.copytree(self.search / "units" / name, place)
        base = [
            self.judge.candidate(name, self.workshop.runner.unit_folder(name), units[name]) for name in names
        ]
        points = centered_losses(base)
        best = int(np.argmax([candidate.metric for candidate in base]))
        beside = [sum(link) - best for link in neighbors(points) if best in link]
        beside.sort(key=lambda index: -base[index].metric)
        return Plan(base, best, [(best, index) for index in beside], self.judge.region(base, points))

    def run(self, fixed: bool, open_gate: bool) -> None:
        """Everything that is not finished yet."""
        torch.set_num_threads(self.settings.threads)
        for mix in self._mixes():
            self._once(mix.name, "averages", partial(self._mix, mix))
        for gap in self.plan.gaps:
            parent, neighbor = self.plan.names(gap)
            name = f"tangent-{parent}-{neighbor}"
            self._once(name, "tangents", partial(self._tangent, parent, neighbor))
        for gap, unit in zip(self.plan.gaps, self._anew(), strict=True):
            self._once(unit.name, "subproblems anew", partial(self._train, unit))
            parent, neighbor = self.plan.names(gap)
            self._once(
                f"neighbor-{parent}-{neighbor}", "neighboring rays", partial(self._rival, parent, neighbor)
            )
        if fixed:
            self._run_fixed()
        if open_gate:
            parent, neighbor = self.plan.names(self.plan.gaps[0])
            name = f"{OPEN}tangent-{parent}-{neighbor}"
            self._once(name, "tangents, gate open", partial(self._open_tangent, parent, neighbor))

    def _run_fixed(self) -> None:
        pairs = [self.plan.names(gap) for gap in self.plan.gaps]
        for pair in pairs:
            name = f"{FIXED}neighbor-{pair[0]}-{pair[1]}"
            self._once(name, "neighboring rays, fixed weights", partial(self._fixed_rival, *pair))
        name = f"{CONTINUED}neighbor-{pairs[0][0]}-{pairs[0][1]}"
        self._once(name, "best one continued", partial(self._continued, *pairs[0]))

    def _once(self, name: str, kind: str, work: Callable[[], Result]) -> None:
        if name in self.found:
            return
        began, self._repeating = time.monotonic(), 0.0
        result = work() | {"set": kind}
        result["wall"] = time.monotonic() - began - self._repeating
        self.found[name] = result
        write_atomic(self.folder / FOUND, json.dumps(self.found, indent=1))
        said = result.get("skipped") or (
            f"{100 * result['accuracy']:.2f} %" if "accuracy" in result else "above its chord"
        )
        print(f"{self.folder.name} {name}: {said} in {result['wall']:.0f} s", flush=True)

    def _mixes(self) -> list[Mix]:
        names = [candidate.name for candidate in self.plan.base]
        positions = self.settings.mixes
        gaps = plan_mixes(names, self.plan.gaps, [self.plan.best], positions, 100)
        return gaps + plan_mixes(names, [], self.plan.region, positions, 1)

    def _mix(self, mix: Mix) -> Result:
        known = {candidate.name: tuple(candidate.losses.values()) for candidate in self.plan.base}
        result = mixing(mix, tuple(known[parent] for parent in mix.parents)).do(self.workshop)
        checks = (len(mix.parents) + 1) * self.settings.check_batches
        return result | {"steps": FORWARD * (self.settings.recalibration_batches + checks)}

    def _train(self, unit: Unit) -> Result:
        return self.workshop.runner.train(unit)

    def _anew(self) -> list[Unit]:
        folders = [self.workshop.runner.unit_folder(candidate.name) for candidate in self.plan.base]
        return refined_units(self.plan.gaps, folders, self.folder, self.settings, (self.warm, self.stop))

    def _tangent(self, parent: str, neighbor: str) -> Result:
        exploration = self._exploration()
        exploration.runner = LazyRunner(self, exploration.keep_step, parent)
        return exploration.tangent(parent, neighbor)

    def _open_tangent(self, parent: str, neighbor: str) -> Result:
        with open_gate():
            return self._tangent(parent, neighbor)

    def _rival(self, parent: str, neighbor: str) -> Result:
        return self._on_ray("", parent, neighbor)

    def _fixed_rival(self, parent: str, neighbor: str) -> Result:
        """By the fixed weights at which the ray is expected to be in balance."""
        return self._on_ray(FIXED, parent, neighbor)

    def _continued(self, parent: str, neighbor: str) -> Result:
        described = read_json(self.workshop.runner.unit_folder(parent) / "unit.json")
        return self._on_ray(CONTINUED, parent, neighbor, described["method"])

    def _on_ray(self, prefix: str, parent: str, neighbor: str, method: Result | None = None) -> Result:
        """Train on a tangent's ray from the parent's end, for as many steps as a tangent may cost."""
        exploration, runner, at = self._exploration(), self.workshop.runner, self.settings.tangent.place
        first = self.stop - min(exploration.tangent_steps, exploration.longest)
        self.keep(parent, first)
        kept = KeepAt.path(runner.unit_folder(parent), first)
        one, other = exploration.solution(parent), exploration.solution(neighbor)
        rays = rays_through(one, other, at, first)
        name = f"{prefix}neighbor-{parent}-{neighbor}"
        place = self.folder / "tangents" / name
        place.mkdir(parents=True, exist_ok=True)
        unit, start = continuation(name, one.state, rays, kept, self.stop, place, self.settings)
        if prefix:
            prior = rays.priors[1]
            unit = replace(unit, method=method or fixed_weights((prior[1:] / prior[0]).tolist()))
        result = runner.train(unit, start)
        start.unlink()
        described = {"way": "neighboring ray", "parents": {parent: 1.0}, "neighbor": neighbor, "place": at}
        return result | described | {"accepted": True}

    def _exploration(self) -> TangentExploration:
        return TangentExploration(self.workshop.runner, self.judge, self.settings, self.folder, self.stop)

    @property
    def explored(self) -> Explored:
        """What has been found so far."""
        plan = self.plan
        beside = [plan.base[neighbor].name for _, neighbor in plan.gaps]
        return Explored(self.folder.name, self.stop, plan.base, plan.base[plan.best], beside, self.found)

    def keep(self, name: str, step: int) -> None:
        """Repeat a unit's training up to `step`, for the checkpoint that the search has not kept.

        Raises:
            ValueError: The repeated training is not the same, step for step.
        """
        place = self.workshop.runner.unit_folder(name)
        if KeepAt.path(place, step).is_file():
            return
        began = time.monotonic()
        described = read_json(place / "unit.json")
        repeated = Unit(f"repeated-{name}-{step}", "explored", described["method"], self.warm, step + 2)
        UnitRunner(self.experiment, self.folder, self.judge, watching=[KeepAt([step], place)]).train(repeated)
        again = Trajectory.load(self.workshop.runner.unit_folder(repeated.name) / "trajectory.npz")
        first = Trajectory.load(place / "trajectory.npz")
        if not np.array_equal(again.log_losses, first.log_losses[: len(again.log_losses)]):
            KeepAt.path(place, step).unlink()
            raise ValueError(
                f"`{name}` of `{self.search}` cannot be repeated step for step by this version on this "
                "machine; search anew."
            )
        self._repeating = time.monotonic() - began  # a search that explores keeps it for nothing


class LazyRunner:
    """The search's runner; the parent's training is repeated only where a tangent is accepted.

    Args:
        exploration: Of the search.
        step: At which the parent's checkpoint is needed.
        parent: Its name.
    """

    def __init__(self, exploration: Exploration, step: int, parent: str) -> None:
        self.exploration, self.step, self.parent = exploration, step, parent
        self.runner = exploration.workshop.runner
        self.asked = 0

    def unit_folder(self, name: str) -> Path:
        """Where a unit is; the second time the parent is asked for, its checkpoint is needed."""
        if name == self.parent:
            self.asked += 1
            if self.asked > 1:
                self.exploration.keep(name, self.step)
        return self.runner.unit_folder(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)


@contextmanager
def open_gate() -> Iterator[None]:
    """Let every tangent pass the gate of criticality."""
    module = psst.search.tangents.search
    module.critical = partial(critical, bound=math.inf)
    try:
        yield
    finally:
        module.critical = critical


def read_json(path: Path) -> dict[str, Any]:
    """A file's content; empty if there is none."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search", type=Path, nargs="+", required=True, help="folders of finished searches")
    parser.add_argument("--output", type=Path, required=True, help="for what is added, a folder a search")
    parser.add_argument("--cache", help="folder of the image stores, as `--data.init_args.cache_dir`")
    parser.add_argument("--fixed", action="store_true", help="neighboring rays with fixed weights, too")
    parser.add_argument("--open", action="store_true", help="a tangent a search past the gate of criticality")
    parser.add_argument("--report", action="store_true", help="print the tables, train nothing")
    arguments = parser.parse_args()
    explorations = [
        Exploration(search, arguments.output / search.name, arguments.cache) for search in arguments.search
    ]
    if arguments.report:
        report([exploration.explored for exploration in explorations])
        for search in arguments.search:
            report_cost(search.name, read_json(search / "manifest.json")["units"])
        return
    for exploration in explorations:
        exploration.run(arguments.fixed, arguments.open)


if __name__ == "__main__":
    main()
