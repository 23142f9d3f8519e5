"""The search: warm start, anchors, subproblems, region, exploration, choice, one test (design chapter 7)."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from psst.files import atomic_path
from psst.pareto import Trajectory, rays_between
from psst.search.budgets.pacer import Pacer
from psst.search.budgets.stages import Stages
from psst.search.explore import Mix, centered_losses, neighbors, plan_mixes
from psst.search.graph import Engine, Graph, InProcess, Node
from psst.search.progress import SearchProgress, forget_progress, read_progress
from psst.search.protocols import Judge, Run
from psst.search.ranks import agree, first_only
from psst.search.record import Manifest, TestRecord, occupied
from psst.search.reports.live import LiveFront
from psst.search.result import Candidate, SearchResult
from psst.search.settings import SearchSettings
from psst.search.tangents.exploration import TangentExploration, plan_tangents, tangent_work
from psst.search.unit_callbacks import KeepAt
from psst.search.units import Schedule, Unit
from psst.search.work import Work, Workshop, mixing, testing, training


class Search:
    """Runs the units that are not finished yet, as soon as what they depend on is, and chooses.

    All decisions and the manifest are made in this process; the units are left to an engine. `spelled` is how
    the user typed `max_steps` and `output`; `pacer` keeps the search within a budget.
    """

    def __init__(
        self,
        run: Run,
        judge: Judge,
        settings: SearchSettings,
        folder: Path,
        spelled: tuple[str, str] = ("trainer.max_steps", "--output"),
        pacer: Pacer | None = None,
    ) -> None:
        self.settings = settings
        self.folder = folder.resolve()
        self.judge = judge
        self.spelled = spelled
        self.task_names = judge.task_names()
        self.schedule = Schedule(settings, run.max_steps, self.task_names[1:], spelled[0])
        resumed = Manifest.has_units(self.folder)
        if resumed:
            self.manifest = Manifest(self.folder, run.yaml(), spelled[1])
        judge.check(resumed)  # before anything is written
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            self.manifest = Manifest(self.folder, run.yaml(), spelled[1])
        self.pacer = pacer
        if pacer is not None:
            pacer.save()
        baselines = self.schedule.baselines
        self._baselines = pacer.baselines(baselines, self.schedule.twin) if pacer else baselines
        self.progress = SearchProgress(pacer.steps if pacer else self._expected_steps())
        self.workshop = Workshop(run, judge, settings, self.folder, self.progress.at)
        self.runner = self.workshop.runner
        tangents = settings.max_tangents > 0
        self._keep = (TangentExploration.of(self.workshop).keep_step,) if tangents else ()
        anchors = len(self.schedule.anchors)
        self.live = LiveFront(self.folder, judge.metric, anchors, self.schedule.max_steps)
        self.graph = Graph(self._started, self._finished, self._failed)
        self._subproblems: list[Unit] = []
        self._explored: list[Work] = []
        self._members: list[int] = []
        self._result: SearchResult | None = None

    def run(self, engine: Engine | None = None) -> SearchResult:
        """Search, choose on validation, and test the choice beside the baselines once."""
        schedule = self.schedule
        anchors = [unit.name for unit in schedule.anchors]
        self._add(schedule.warm)
        self._add(*schedule.anchors, after=(schedule.warm.name,))
        self.graph.add(Node("rays", tuple(anchors), self._lay_rays))
        for unit in self._baselines:
            twin = schedule.twin(unit)
            if twin is None:
                self.graph.add(Node(unit.name, (), partial(self._train_baseline, unit), patient=True))
            else:
                self.graph.add(Node(unit.name, (twin,), partial(self._copy, unit, twin)))
        for name, result in self.manifest.units.items():
            if result.get("accepted", True):
                self._show(name, told=False)
        engine = engine or InProcess(self.workshop)
        try:
            with occupied(self.folder, self.spelled[1]):
                self.graph.run(engine)
        finally:
            engine.close()
        assert self._result is not None
        self.live.close(self._result)
        return self._result

    def look(self) -> None:
        """Read how far the units in other processes are."""
        for name in self.graph.running:
            folder = self.runner.unit_folder(name)
            steps = read_progress(folder)
            if steps is not None:
                self.progress.at(folder, *steps)

    def _expected_steps(self) -> int:
        schedule = self.schedule
        units = [schedule.warm, *schedule.anchors, *schedule.baselines]
        subproblem_steps = len(schedule.anchor_pairs) * (schedule.max_steps - schedule.warm_steps)
        return sum(unit.steps for unit in units) + subproblem_steps

    def _add(self, *units: Unit, after: tuple[str, ...] = (), patient: bool = False) -> None:
        self.graph.add(*(Node(unit.name, after, partial(self._train, unit), patient) for unit in units))

    def _train(self, unit: Unit) -> Work | None:
        if self.manifest.finished(unit.name):
            self.progress.skip(unit.name, unit.steps, "finished earlier")
            return None
        return training(unit, self._keep if unit.kind in ("anchor", "subproblem") else ())

    def _train_baseline(self, unit: Unit) -> Work | None:
        finished, pacer = self.manifest.finished(unit.name), self.pacer
        if pacer is None or finished or pacer.affords(self.manifest.units, unit):
            return self._train(unit)
        self.progress.skip(unit.name, unit.steps, "does not fit into the budget any more")
        return None

    def _copy(self, unit: Unit, twin: str) -> None:
        """Make a baseline of its twin."""
        if self.manifest.finished(unit.name):
            self.progress.skip(unit.name, unit.steps, "finished earlier")
            return
        self.progress.skip(unit.name, unit.steps, f"the same training as {twin}")
        self.runner.copy(twin, unit.name)
        result = self.manifest.units[twin]
        self.manifest.finish(unit.name, {**result, "kind": unit.kind, "steps": 0, "seconds": 0.0})

    def _lay_rays(self) -> None:
        """Lay rays between neighboring anchors' trajectories, and a subproblem on each."""
        anchors = self.schedule.anchors
        trajectories = [
            Trajectory.load(self.runner.unit_folder(unit.name) / "trajectory.npz") for unit in anchors
        ]
        rays = rays_between(trajectories, pairs=self.schedule.anchor_pairs)
        rays_file = self.folder / "rays.npz"
        first_only(rays.save)(rays_file)
        agree(None)
        self._subproblems = self.schedule.subproblems(str(rays_file), len(rays.priors))
        if self.pacer is not None:
            self._halve(self.pacer)
            return
        missing = len(self._subproblems) - len(self.schedule.anchor_pairs)
        self.progress.total_steps += missing * anchors[0].steps
        self._add(*self._subproblems)
        names = tuple(unit.name for unit in [*anchors, *self._subproblems])
        self.graph.add(Node("region", names, self._explore))

    def _halve(self, pacer: Pacer) -> None:
        """Train the rays by halves, and more of them inside the region, as the budget allows."""

        def ended(units: list[Unit]) -> None:
            self.progress.total_steps += pacer.steps - planned
            self._subproblems = units
            self.graph.add(Node("region", (), self._explore))

        planned = pacer.steps
        parts = (self.graph, self.manifest, self.judge, pacer, self.folder, self._candidate, self.progress)
        Stages(*parts, self.schedule.anchors, ended).begin(self._subproblems)

    def _trained(self) -> list[Candidate]:
        return [self._candidate(unit.name) for unit in [*self.schedule.anchors, *self._subproblems]]

    def _explore(self) -> None:
        """Average neighbors in the region, to keep what lies at or below the chord."""
        trained = self._trained()
        points = centered_losses(trained)
        self._members = self.judge.region(trained, points)
        names, settings = [candidate.name for candidate in trained], self.settings
        links = neighbors(points)
        at_most = settings.max_explored if self.pacer is None else self.pacer.plan.explored
        mixes = plan_mixes(names, links, self._members, settings.mixes, at_most)
        self._explored = [*map(self._mix, mixes), *self._plan_tangents(trained, links)]
        self.graph.add(*(Node(work.name, (), partial(self._left, work)) for work in self._explored))
        waited = [*(work.name for work in self._explored), *(unit.name for unit in self._baselines)]
        self.graph.add(Node("choice", tuple(waited), self._choose))

    def _plan_tangents(self, trained: Sequence[Candidate], links: Sequence[tuple[int, int]]) -> list[Work]:
        """Plan tangents from members of the region, the best first."""
        if not self._keep:
            return []
        at_most = self.settings.max_tangents if self.pacer is None else self.pacer.plan.tangents
        folders = [self.runner.unit_folder(one.name) for one in trained]
        begun = [  # what was trained by halves lacks the checkpoint to go on from
            i for i in self._members if KeepAt.path(folders[i], self._keep[0]).is_file()
        ]
        begun.sort(key=lambda i: -self.judge.metric.quality(trained[i].metric))
        pairs = plan_tangents([one.name for one in trained], links, begun, at_most)
        return [tangent_work(*pair, (self._keep[0], self.schedule.max_steps)) for pair in pairs]

    def _left(self, work: Work) -> Work | None:
        return None if self.manifest.finished(work.name) else work

    def _mix(self, mix: Mix) -> Work:
        known = tuple(tuple(self._candidate(parent).losses.values()) for parent in mix.parents)
        return mixing(mix, known)

    def _choose(self) -> None:
        """Choose among all candidates, and test the choice beside two baselines."""
        trained = self._trained()
        tried = [work.name for work in self._explored]
        explored = [name for name in tried if self.manifest.units[name]["accepted"]]
        candidates = trained + [self._candidate(name) for name in explored]
        finished = [unit.name for unit in self._baselines if self.manifest.finished(unit.name)]
        baselines = [self._candidate(name) for name in finished]
        metric = self.judge.metric
        chosen = max(candidates, key=lambda candidate: metric.quality(candidate.metric)).name
        best = self.folder / "best.ckpt"
        region = [trained[i].name for i in self._members]
        self._result = SearchResult(
            metric,
            candidates,
            baselines,
            region,
            chosen,
            best,
            {},
            units=self.manifest.units,
            max_steps=self.schedule.max_steps,
            selection=self.judge.selection,
        )
        _copy_file(self.runner.checkpoint(chosen), best)
        if self.judge.can_test:
            compared = [name for name in ("plain", self._result.best_fixed) if name in finished]
            if when := agree(TestRecord(self.folder).touch([chosen, *compared])):
                self.progress.skip("test", 0, f"touched on {when}, its results are used again")
            for name in [chosen, *compared]:
                self.graph.add(Node(f"test of {name}", (), partial(self._test, name)))
            tested = tuple(f"test of {name}" for name in [chosen, *compared])
            self.graph.add(Node("tests", tested, partial(self._read_tests, [chosen, *compared])))

    def _test(self, name: str) -> Work | None:
        tested = self.judge.read_test(self.runner.unit_folder(name)) is not None
        return None if tested else testing(name)

    def _read_tests(self, names: Sequence[str]) -> None:
        assert self._result is not None
        for name in names:
            self._result.tests[name] = self.judge.read_test(self.runner.unit_folder(name)) or {}

    def _candidate(self, name: str) -> Candidate:
        return self.judge.candidate(name, self.runner.unit_folder(name), self.manifest.units[name])

    def _show(self, name: str, told: bool = True) -> None:
        """Let TensorBoard and the running line know of a finished unit."""
        self.live.add(self._candidate(name), self.manifest.units, told)
        best = self.live.best
        self.progress.best = f"{best.name} {self.judge.metric.text(best.metric)}" if best else ""

    def _started(self, work: Work) -> None:
        first, last = work.steps
        forget_progress(self.runner.unit_folder(work.name))
        self.progress.begin(work.name, first, last - first)

    def _failed(self, work: Work, reason: str) -> None:
        self.progress.again(work.name, f"{reason.splitlines()[0] if reason else 'failed'} It goes on.")

    def _finished(self, work: Work, result: dict[str, Any]) -> None:
        if not work.noted:
            self.progress.end(work.name, "tested")
            return
        self.manifest.finish(work.name, result)
        if self.pacer is not None:
            self.pacer.save()
        if result.get("accepted", True):
            self._show(work.name)
        if not result.get("accepted", True):
            self.progress.end(work.name, result.get("skipped") or "lies above its chord, dropped")
            return
        candidate, metric = self._candidate(work.name), self.judge.metric
        said = f"validation {metric.label} {metric.text(candidate.metric)} {metric.unit}".rstrip()
        took = f" in {result['seconds']:.0f} s" if "seconds" in result else ""
        self.progress.end(work.name, said + took)


@first_only
def _copy_file(source: Path, path: Path) -> None:
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
