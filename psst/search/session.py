"""Runs the lines of a search to their ends, keeps what is finished, chooses, and tests once."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psst.files import atomic_path
from psst.search.budget import measured_pace
from psst.search.engines import Engine
from psst.search.folds import OWN, FoldCourse, make_course
from psst.search.lines import run_lines
from psst.search.progress import SearchProgress, forget_progress, read_progress, seconds_text
from psst.search.protocols import Judge, Run
from psst.search.ranks import agree, first_only
from psst.search.record import Manifest, touch_test
from psst.search.result import SearchResult, joined
from psst.search.settings import SearchSettings
from psst.search.work import Line, Work, Workshop


@dataclass
class Search:
    """A search in a folder that this process holds, see `psst.search.record.occupied`.

    All decisions and the manifest are made in this process; the units are left to an engine.

    Attributes:
        run: Gives modules, data and trainers.
        judge: Measures.
        settings: Of the search.
        folder: For everything.
        option: How the user gives the folder.
    """

    run: Run
    judge: Judge
    settings: SearchSettings
    folder: Path
    option: str = "--output"

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        folds = max(look.folds for look in self.settings.course_of(2))
        remark = self.judge.check(folds)
        identity = f"{self.run.identity()}\ndata: {self.judge.data_key()}"
        self.manifest = Manifest(self.folder, identity, self.option)
        threads = f"{self.settings.threads} threads, {self.settings.renewal_batches} renewal batches"
        own = (self.judge, self.settings, self.run.max_steps, self.folder, f"{identity}\n{threads}")
        self.course = make_course(*own)
        self._here: set[str] = set()  # units that were finished by this process
        self.remarks = [*self.manifest.remarks, *([remark] if remark else [])]
        self.lines = self.course.lines()
        self.progress = SearchProgress(sum(row[3] for row in self.course.rows()))
        report = self.progress.at
        self.workshop = Workshop(self.run, self.judge, self.settings, self.folder, report)

    def search(self, engine: Engine) -> SearchResult:
        """Search, choose on validation, and test the choice and its rivals once."""
        for remark in self.remarks:
            self.progress.say(remark)
        try:
            values = self._run(list(self.lines.values()), engine)
            found = dict(zip(self.lines, values, strict=True))
            if OWN in self.settings.rivals and isinstance(self.course, FoldCourse):
                steps = self._own_steps(self.course.own_options)
                [found[OWN]] = self._run([self.course.own_line(steps)], engine)
            result = self._result(found)
            if self.judge.can_test:
                self._test(result, engine)
        finally:
            engine.close()
            self.progress.close()
        return result

    def _own_steps(self, options: tuple[tuple[str, Any], ...]) -> int:
        """Steps of each of the two trainings of the user's own network: together as long as all the rest."""
        known = self.manifest.budget
        if "own_steps" not in known:
            spent = sum(unit["result"].get("seconds", 0.0) for unit in self.manifest.units.values())
            pace = measured_pace(self.run.varied(options), self.judge, self.settings)
            known["own_steps"] = max(1, round(spent / 2 / pace.step))
        return int(known["own_steps"])

    def _result(self, found: Mapping[str, Any]) -> SearchResult:
        tasks = self.judge.task_names()
        best = self.folder / "best.ckpt"
        result = SearchResult(
            metric=self.judge.metric,
            tasks=tasks,
            max_passes=self.run.max_steps,
            found=joined(found),
            best_checkpoint=best,
            units={name: self.manifest.units[name]["result"] for name in self.course.units},
            chance=agree(self.judge.chance()),
            costs={task: self.judge.cost((task,)) for task in tasks[1:]},
            remarks=list(self.remarks),
        )
        _copy_file(self.workshop.runner.checkpoint(result.best.unit), best)
        return result

    def _test(self, result: SearchResult, engine: Engine) -> None:
        finals = result.finals
        result.looks_at_test = agree(touch_test(self.folder, sorted(one.unit for one in finals.values())))
        self._run([self.course.tests(list(finals.values()))], engine)
        for name, one in finals.items():
            tested = self.judge.tested(self.workshop.runner.unit_folder(one.unit))
            if tested is not None:
                result.tests[name] = tested

    def _run(self, lines: list[Line], engine: Engine) -> list[Any]:
        callbacks: tuple[Callable[..., Any], ...] = (
            self._known,
            self._started,
            self._finished,
            lambda work: self.progress.lost(work.name),
            self._look,
        )
        return run_lines(lines, engine, *callbacks)

    def _known(self, work: Work) -> dict[str, Any] | None:
        if work.kind == "test":
            return None
        result = self.manifest.result(work.name, work.key)
        if result is not None and "failed" not in result and not self._readable(work, result):
            self.progress.say(f"{work.name}: its files are damaged or gone; it is made anew")
            return None
        if result is not None and work.name not in self._here:
            self.progress.known(work.passes)
            self.progress.say(f"{work.name}: finished earlier")
        return result

    def _readable(self, work: Work, result: dict[str, Any]) -> bool:
        """Whether what a finished unit has left is there."""
        if not self.workshop.runner.checkpoint(work.name).is_file():
            return False
        try:
            return (
                not work.unit.judged
                or self.judge.measured(self.workshop.runner.unit_folder(work.name), result) is not None
            )
        except (OSError, ValueError, KeyError):
            return False

    def _started(self, work: Work) -> None:
        forget_progress(self.workshop.runner.unit_folder(work.unit.name))
        steps = work.unit.steps if work.kind == "train" else 0
        self.progress.begin(work.name, steps, work.passes, work.unit.stop)

    def _finished(self, work: Work, result: dict[str, Any]) -> None:
        if work.kind == "test":
            self.progress.end(work.name, "tested")
            return
        self._here.add(work.name)
        self.manifest.finish(work.name, work.key, result)
        took = f" in {seconds_text(result['seconds'])}" if result.get("seconds") else ""
        if "failed" in result:
            self.progress.end(work.name, f"failed ({result['failed']})")
        elif "metric" in result:
            metric = self.judge.metric
            said = f"validation {metric.label} {metric.text(result['metric'])} {metric.unit}".rstrip()
            self.progress.end(work.name, said + took)
        else:
            self.progress.end(work.name, f"trained{took}")

    def _look(self) -> None:
        """Read how far the units in other processes are."""
        for name in self.progress.running:
            folder = self.workshop.runner.unit_folder(name)
            steps = read_progress(folder)
            if steps is not None:
                self.progress.at(folder, *steps)


@first_only
def _copy_file(source: Path, path: Path) -> None:
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
