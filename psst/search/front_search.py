"""The search: warm start, anchors, subproblems, region, exploration, choice, one test (design chapter 7)."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.pareto import RaySet, Trajectory, rays_between
from psst.search.explore import Mix, average, chord_check, plan_mixes, scaled_chord
from psst.search.manifest import Manifest
from psst.search.progress import SearchProgress
from psst.search.protocols import Judge, Run
from psst.search.region import neighbors
from psst.search.result import Candidate, SearchResult
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Schedule, Unit, check_method

__all__ = ["Search"]


class Search:
    """Runs the units that are not finished yet, in order, and chooses.

    Args:
        run: Gives fresh parts for each unit.
        judge: Measures their models.
        settings: Of the search.
        folder: Output folder, created if need be.
        spelled: How the user typed `max_steps` and `output`, for errors.
    """

    def __init__(
        self,
        run: Run,
        judge: Judge,
        settings: SearchSettings,
        folder: Path,
        spelled: tuple[str, str] = ("trainer.max_steps", "--output"),
    ) -> None:
        self.settings = settings
        self.folder = folder.resolve()
        self.judge = judge
        check_method(settings)
        self.task_names = judge.task_names()
        self.schedule = Schedule(settings, run.max_steps, self.task_names[1:], spelled[0])
        resumed = Manifest.has_units(self.folder)
        if resumed:
            self.manifest = Manifest(self.folder, run.yaml(), spelled[1])
        judge.check(resumed)  # before anything is written
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            self.manifest = Manifest(self.folder, run.yaml(), spelled[1])
        self.progress = SearchProgress(self._expected_steps())
        self.runner = UnitRunner(run, self.folder, self.progress, judge)

    def run(self) -> SearchResult:
        """Search, choose on validation, and test the choice beside the baselines once."""
        self._train(self.schedule.warm)
        anchors = [self._train(unit) for unit in self.schedule.anchors]
        subproblems = [self._train(unit) for unit in self._subproblems()]
        baselines = [self._baseline(unit) for unit in self.schedule.baselines]
        trained = anchors + subproblems
        points = centered_losses(trained)
        members = self.judge.region(trained, points)
        candidates = trained + self._explore(trained, neighbors(points), members)
        metric = self.judge.metric
        chosen = max(candidates, key=lambda candidate: metric.quality(candidate.metric)).name
        best = self.folder / "best.ckpt"
        names = [trained[i].name for i in members]
        result = SearchResult(metric, candidates, baselines, names, chosen, best, {})
        shutil.copyfile(self.runner.checkpoint(chosen), self.folder / ".best.ckpt")
        (self.folder / ".best.ckpt").replace(best)
        if self.judge.can_test:
            for name in [chosen] + [name for name in ("plain", result.best_fixed) if baselines and name]:
                result.tests[name] = self._test(name)
        return result

    def _expected_steps(self) -> int:
        schedule = self.schedule
        units = [schedule.warm, *schedule.anchors, *schedule.baselines]
        subproblem_steps = len(schedule.anchor_pairs) * (schedule.max_steps - schedule.warm_steps)
        return sum(unit.steps for unit in units) + subproblem_steps

    def _train(self, unit: Unit) -> Candidate:
        if self.manifest.finished(unit.name):
            self.progress.skip(unit.name, unit.steps, "finished earlier")
        else:
            self.progress.unit(unit.name)
            result = self.runner.train(unit)
            self.manifest.finish(unit.name, result)
            candidate = self._candidate(unit.name)
            self.progress.report(f"{self._said(candidate)} in {result['seconds']:.0f} s")
        return self._candidate(unit.name)

    def _baseline(self, unit: Unit) -> Candidate:
        """Train a baseline; one weighted like the warm start is an anchor already, step for step: copy it."""
        warm = self.schedule.warm
        twins = [
            anchor.name for anchor in self.schedule.anchors if anchor.method == warm.method == unit.method
        ]
        if twins and not self.manifest.finished(unit.name):
            self.progress.skip(unit.name, unit.steps, f"the same training as {twins[0]}")
            self.runner.copy(twins[0], unit.name)
            result = self.manifest.units[twins[0]]
            self.manifest.finish(unit.name, {**result, "kind": unit.kind, "steps": 0, "seconds": 0.0})
            return self._candidate(unit.name)
        return self._train(unit)

    def _candidate(self, name: str) -> Candidate:
        return self.judge.candidate(name, self.runner.unit_folder(name), self.manifest.units[name])

    def _said(self, candidate: Candidate) -> str:
        metric = self.judge.metric
        return f"validation {metric.label} {metric.text(candidate.metric)}".rstrip() + (
            metric.unit and f" {metric.unit}"
        )

    def _subproblems(self) -> list[Unit]:
        """Lay rays between neighboring anchors' trajectories."""
        anchors = self.schedule.anchors
        trajectories = [
            Trajectory.load(self.runner.unit_folder(unit.name) / "trajectory.npz") for unit in anchors
        ]
        rays: RaySet = rays_between(trajectories, pairs=self.schedule.anchor_pairs)
        rays_file = self.folder / "rays.npz"
        rays.save(rays_file)
        units = self.schedule.subproblems(str(rays_file), len(rays.priors))
        self.progress.total_steps += (len(units) - len(self.schedule.anchor_pairs)) * self.schedule.anchors[
            0
        ].steps
        return units

    def _explore(
        self, trained: Sequence[Candidate], links: Sequence[tuple[int, int]], members: Sequence[int]
    ) -> list[Candidate]:
        """Average neighbors, keep what lies at or below the chord."""
        names = [candidate.name for candidate in trained]
        accepted = []
        for mix in plan_mixes(names, links, members, self.settings.mixes, self.settings.max_explored):
            if not self.manifest.finished(mix.name):
                self.progress.unit(mix.name)
                self.manifest.finish(mix.name, self._try_mix(mix))
                if self.manifest.units[mix.name]["accepted"]:
                    self.progress.report(self._said(self._candidate(mix.name)))
            if self.manifest.units[mix.name]["accepted"]:
                accepted.append(self._candidate(mix.name))
        return accepted

    def _try_mix(self, mix: Mix) -> dict[str, Any]:
        settings = self.settings
        fresh = self.schedule.max_steps  # training has seen the batches before
        states = {parent: self.runner.state(parent) for parent in mix.parents}
        mixed = self.judge.recalibrated(
            average(list(states.values()), mix.shares), fresh, settings.recalibration_batches
        )
        start = fresh + settings.recalibration_batches
        losses = self.judge.fresh_losses({**states, mix.name: mixed}, start, settings.check_batches)
        ends = [losses[parent] for parent in mix.parents]
        check = chord_check(losses[mix.name], ends, mix.shares)
        result: dict[str, Any] = {
            "kind": "explored",
            "parents": dict(zip(mix.parents, mix.shares, strict=True)),
            "accepted": check.accepted,
            "chord_excess": dict(zip(self.task_names, check.excess.tolist(), strict=True)),
        }
        if not check.accepted:
            self.progress.report("lies above its chord, dropped")
            return result
        result |= self.runner.adopt(mix.name, mixed, mix.parents[0])
        if "losses" not in result:  # never trained, so it has no running means of its own
            known = [list(self._candidate(parent).losses.values()) for parent in mix.parents]
            carried = scaled_chord(np.array(known), mix.shares, losses[mix.name], ends)
            result["losses"] = dict(zip(self.task_names, carried.tolist(), strict=True))
        return result

    def _test(self, name: str) -> dict[str, Any]:
        folder = self.runner.unit_folder(name)
        if self.judge.read_test(folder) is None:
            self.progress.unit(name)
            self.runner.test(name)
            self.progress.report("tested")
        return self.judge.read_test(folder) or {}


def centered_losses(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return ``[n, m]``: logarithms of the losses, centered over the tasks; 0 counts as the least float."""
    losses = np.array([list(candidate.losses.values()) for candidate in candidates])
    logarithms = np.log(np.maximum(losses, np.finfo(np.float32).tiny))
    return np.asarray(logarithms - logarithms.mean(axis=1, keepdims=True))
