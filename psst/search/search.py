"""The search: warm start, anchors, subproblems, region, exploration, choice, one test (design chapter 7)."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.evaluation import EpisodeScores, load_scores
from psst.pareto import RaySet, Trajectory, rays_between
from psst.search.explore import average, chord_check, plan_mixes
from psst.search.manifest import Manifest
from psst.search.progress import SearchProgress
from psst.search.region import neighbors, region
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Schedule, Unit
from psst.training.experiment import Experiment

__all__ = ["Candidate", "Search", "SearchResult"]


@dataclass(frozen=True)
class Candidate:
    """A finished model and what validation says of it.

    Args:
        name: The unit's name.
        kind: `anchor`, `subproblem`, `explored` or `baseline`.
        losses: Validation loss of each task, main first.
        scores: Main-task validation accuracies, ``[episodes]``, the same episodes for every candidate.
        result: Everything else the unit reported.
    """

    name: str
    kind: str
    losses: dict[str, float]
    scores: NDArray[np.float32]
    result: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Mean validation accuracy in [0, 1]."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        candidates: Anchors, subproblems and accepted averages.
        baselines: `plain` and `fixed(w)`, empty without baselines.
        region: Names of the candidates in the preference region.
        chosen: Name of the candidate with the best validation accuracy.
        tests: Test scores per group of classes, of the chosen model and of the baselines compared with it.
    """

    candidates: list[Candidate]
    baselines: list[Candidate]
    region: list[str]
    chosen: str
    tests: dict[str, dict[str, EpisodeScores]]

    @property
    def best_fixed(self) -> str | None:
        """The fixed-weight baseline that does best on validation."""
        fixed = [candidate for candidate in self.baselines if candidate.name != "plain"]
        return max(fixed, key=lambda candidate: candidate.accuracy).name if fixed else None


class Search:
    """Runs the units that are not finished yet, in order, and chooses.

    Args:
        experiment: The parsed configuration.
        settings: Its `search:` group.
        folder: Output folder, created if need be.
    """

    def __init__(self, experiment: Experiment, settings: SearchSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder.resolve()
        self.task_names = experiment.module().task_names
        self.schedule = Schedule(settings, experiment.max_steps, self.task_names[1:])
        check_data(experiment)  # before anything is written
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest = Manifest(self.folder, experiment.yaml())
        self.progress = SearchProgress(self._expected_steps())
        self.runner = UnitRunner(experiment, self.folder, self.progress)

    def run(self) -> SearchResult:
        """Search, choose on validation, and test the choice beside the baselines once."""
        self._train(self.schedule.warm)
        anchors = [self._train(unit) for unit in self.schedule.anchors]
        subproblems = [self._train(unit) for unit in self._subproblems()]
        baselines = [self._baseline(unit) for unit in self.schedule.baselines]
        trained = anchors + subproblems
        points = centered_losses(trained)
        members = region(points, [candidate.scores for candidate in trained])
        candidates = trained + self._explore(trained, neighbors(points), members)
        chosen = max(candidates, key=lambda candidate: candidate.accuracy).name
        result = SearchResult(candidates, baselines, [trained[i].name for i in members], chosen, {})
        compared = [chosen] + [name for name in ("plain", result.best_fixed) if baselines and name]
        for name in compared:
            result.tests[name] = self._test(name)
        shutil.copyfile(self.runner.checkpoint(chosen), self.folder / ".best.ckpt")
        (self.folder / ".best.ckpt").replace(self.folder / "best.ckpt")
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
            self.progress.report(
                f"validation accuracy {100 * result['accuracy']:.2f} % in {result['seconds']:.0f} s"
            )
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
        result = self.manifest.units[name]
        scores = load_scores(self.runner.unit_folder(name) / "val_scores.npz")
        pooled = np.concatenate([scores[group].accuracies for group in sorted(scores)])
        return Candidate(name, result["kind"], result["losses"], pooled, result)

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
                self.manifest.finish(mix.name, self._try_mix(mix.name, mix.parents, mix.shares))
            if self.manifest.units[mix.name]["accepted"]:
                accepted.append(self._candidate(mix.name))
        return accepted

    def _try_mix(self, name: str, parents: tuple[str, ...], shares: tuple[float, ...]) -> dict[str, Any]:
        settings, fresh = (
            self.settings,
            self.schedule.max_steps,
        )  # training has seen the episodes before `fresh`
        states = {parent: self.runner.state(parent) for parent in parents}
        mixed = self.runner.recalibrated(
            average(list(states.values()), shares), fresh, settings.recalibration_batches
        )
        start = fresh + settings.recalibration_batches
        losses = self.runner.fresh_losses({**states, name: mixed}, start, settings.check_batches)
        check = chord_check(losses[name], [losses[parent] for parent in parents], shares)
        result: dict[str, Any] = {
            "kind": "explored",
            "parents": dict(zip(parents, shares, strict=True)),
            "accepted": check.accepted,
            "chord_excess": dict(zip(self.task_names, check.excess.tolist(), strict=True)),
        }
        if not check.accepted:
            self.progress.report("lies above its chord, dropped")
            return result
        result |= self.runner.adopt(name, mixed, parents[0])
        self.progress.report(f"validation accuracy {100 * result['accuracy']:.2f} %")
        return result

    def _test(self, name: str) -> dict[str, EpisodeScores]:
        path = self.runner.unit_folder(name) / "test_scores.npz"
        if not path.is_file():
            self.progress.unit(name)
            self.runner.test(name)
            self.progress.report("tested")
        return load_scores(path)


def check_data(experiment: Experiment) -> None:
    """Build the store if need be, and hold all splits against the settings."""
    data = experiment.datamodule()
    data.prepare_data()
    data.setup("fit")


def centered_losses(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return ``[n, m]``: logarithms of the validation losses, centered over the tasks."""
    logarithms = np.log([list(candidate.losses.values()) for candidate in candidates])
    return np.asarray(logarithms - logarithms.mean(axis=1, keepdims=True))
