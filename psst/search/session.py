"""Runs the lines of a search to their ends, keeps what is finished, chooses, tests once, and reports."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import torch

from psst.files import atomic_path
from psst.images import trust
from psst.search.budget import Budget, measured_pace, solved
from psst.search.course import Found
from psst.search.engines import Engine, EngineName, make_engine
from psst.search.folds import OWN, FoldCourse, make_course
from psst.search.judge import Judge
from psst.search.progress import SearchProgress, seconds_text
from psst.search.ranks import agree, first_only
from psst.search.record import Manifest, UnitFolder, occupied, whole
from psst.search.report import write_report
from psst.search.result import SearchResult, joined
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.unit import Line, Unit

_ATTEMPTS = 3  # of a unit whose process is lost
_LOST = (
    "its worker process ended abruptly (killed, or out of memory). A script that searches with `workers` "
    "must do so below `if __name__ == '__main__':`, and a notebook or `python -c` must import its module and "
    "data from a file, or set `workers=1`."
)


def run_search(
    judge: Judge,
    settings: SearchSettings,
    output: Path,
    option: str = "--output",
    workers: int = 1,
    engine: EngineName = "processes",
    silence: Callable[[], None] | None = None,
    budget: Budget | None = None,
) -> SearchResult:
    """Search in a folder that is held as long, and write the result files.

    Args:
        judge: Of the run: an `EpisodeJudge` of a parsed configuration, or a `Judge` of any module.
        settings: Of the search.
        output: Folder for units, front, pictures and best.ckpt; units finished there are not run again.
        option: How the user gives the folder.
        workers: Units at work side by side; the result does not depend on it.
        engine: `processes` of this machine, or `ray` tasks.
        silence: Called in each of these processes first.
        budget: What search and rivals may take: T is made for it.

    Raises:
        ValueError: The run leaves nothing to search, `output` holds a search of another model or is in use,
            or the budget does not pay for any.
    """
    torch.set_num_threads(settings.threads)
    with occupied(output, option), trust() as known:  # the files of the data set are looked at once
        judge.task_names()
        if budget is not None:
            steps = solved(budget, judge, settings, output)
            judge.run = judge.run.varied((("trainer.max_steps", steps),))
        search = Search(judge, settings, output.resolve(), option, budget)
        result = search.search(make_engine(engine, workers, search.runner, known, silence))
        first_only(write_report)(result, search.folder)
    return result


class Search:
    """A search in a folder that this process holds, see `psst.search.record.occupied`.

    All decisions and the manifest are made in this process; the units are left to an engine.
    """

    def __init__(
        self, judge: Judge, settings: SearchSettings, folder: Path, option: str, budget: Budget | None
    ) -> None:
        self.judge, self.settings, self.folder = judge, settings, folder
        remark = judge.check(settings)
        metric = f"{judge.metric.name} ({judge.metric.mode})"
        identity = f"{judge.run.identity()}\nmetric: {metric}\ndata: {judge.data_key()}"
        self.manifest = Manifest(self.folder, identity, option)
        if budget is not None:
            self.manifest.budget |= {**budget._asdict(), "max_steps": judge.run.max_steps}
        self.remarks = [*self.manifest.remarks, *([remark] if remark else [])]
        threads = f"{settings.threads} threads, {settings.renewal_batches} renewal batches"
        self.course = make_course(judge, settings, judge.run.max_steps, self.folder, f"{identity}\n{threads}")
        self.runner = UnitRunner(judge, settings, self.folder)
        self._results: dict[str, dict[str, Any] | None] = {}
        first_only(judge.save)(self.folder)

    def search(self, engine: Engine) -> SearchResult:
        """Search, choose on validation, and test the choice and its rivals once."""
        self.progress = SearchProgress(sum(row.passes for row in self.course.rows()), self.folder)
        for remark in self.remarks:
            self.progress.say(remark)
        try:
            found = _run_lines(self.course.lines(), engine, self)
            if OWN in self.settings.rivals and isinstance(self.course, FoldCourse):
                steps = self._own_steps(self.course.own_options)
                found += _run_lines([self.course.own_line(steps)], engine, self)
            result = self._result(found)
            if self.judge.can_test:
                self._test(result, engine)
        finally:
            engine.close()
            self.progress.close()
        return result

    def known(self, unit: Unit) -> dict[str, Any] | None:
        """What came of a unit, now or in an earlier run; None if it is to be made."""
        if unit.name not in self._results:
            self._results[unit.name] = result = self._left(unit)
            if result is not None:
                self.progress.known(unit)
        return self._results[unit.name]

    def finished(self, unit: Unit, result: dict[str, Any]) -> None:
        """Remember it, and say so."""
        self._results[unit.name] = result
        self.manifest.write()
        metric, took = self.judge.metric, result.get("seconds")
        said = "tested" if unit.test else "trained"
        if "failed" in result:
            said = f"failed ({result['failed']})"
        elif "metric" in result and not unit.test:
            said = f"validation {metric.label} {metric.text(result['metric'])} {metric.unit}".rstrip()
        self.progress.end(unit, said + (f" in {seconds_text(took)}" if took else ""))

    def _left(self, unit: Unit) -> dict[str, Any] | None:
        """What an earlier run has left of it, if that can be read."""
        place = UnitFolder(self.folder, unit)
        try:
            result = place.result
            if result is None or "failed" in result:
                return result
            if not whole(place.model):
                raise FileNotFoundError(place.model)
            if unit.judged:
                self.judge.measured(place.path, result, "test" if unit.test else "val")
            return result
        except (OSError, ValueError, KeyError):
            self.progress.say(f"{unit.name}: its files are damaged or gone; it is made anew")
            return None

    @property
    def _units(self) -> dict[str, dict[str, Any]]:
        """What came of each training and average that the course has laid out."""
        return {name: self._results[name] or {} for name in self.course.units}

    def _own_steps(self, options: tuple[tuple[str, Any], ...]) -> int:
        """Steps of each of the two trainings of the user's own network: together as long as all the rest."""
        known = self.manifest.budget
        if "own_steps" not in known:
            spent = sum(result.get("seconds", 0.0) for result in self._units.values())
            pace = measured_pace(self.judge, self.settings, options)
            known["own_steps"] = agree(max(1, round(spent / 2 / pace.step)))
        return int(known["own_steps"])

    def _result(self, found: Sequence[Found]) -> SearchResult:
        tasks = self.judge.task_names()
        best = self.folder / "best.ckpt"
        result = SearchResult(
            metric=self.judge.metric,
            tasks=tasks,
            found=joined(found),
            best_checkpoint=best,
            units=self._units,
            chance=agree(self.judge.chance),
            costs={task: self.judge.cost((task,)) for task in tasks[1:]},
            remarks=list(self.remarks),
        )
        self.manifest.write()  # what was finished earlier included
        _copy_file(self.runner.checkpoint(result.best.unit.name), best)
        return result

    def _test(self, result: SearchResult, engine: Engine) -> None:
        finals = result.finals
        result.looks_at_test = agree(
            self.manifest.touch_test(sorted(one.unit.name for one in finals.values()))
        )
        [tests] = _run_lines([self.course.tests(list(finals.values()))], engine, self)
        result.tests = {name: tests[one.unit.name] for name, one in finals.items()}
        result.told = self.runner.told(result.best.unit)


def _run_lines(lines: Sequence[Line], engine: Engine, keeper: Search) -> list[Any]:
    """Run lines side by side to their ends and return what they return, in order.

    Each waits for its own results only, and the first goes first. What two have in common is done once:
    `keeper` knows what came of it. An error of a unit is raised.
    """
    values: list[Any] = [None] * len(lines)
    asked = {place: next(line) for place, line in enumerate(lines)}
    running: dict[Future[dict[str, Any] | Exception], Unit] = {}
    losses: Counter[str] = Counter()
    while True:
        for place in list(asked):
            while all(keeper.known(unit) is not None for unit in asked[place]):
                results = {unit.name: keeper.known(unit) or {} for unit in asked[place]}
                try:
                    asked[place] = lines[place].send(results)
                except StopIteration as end:
                    values[place] = end.value
                    del asked[place]
                    break
        wanted = {unit.name: unit for units in asked.values() for unit in units if keeper.known(unit) is None}
        at_work = {unit.name for unit in running.values()}
        waiting = [unit for name, unit in wanted.items() if name not in at_work]
        for unit in waiting[: engine.slots - len(running)]:
            keeper.progress.begin(unit)
            running[engine.submit(unit)] = unit
        if not running:
            return values
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            unit = running.pop(future)
            if (error := future.exception()) is None:
                outcome = future.result()
                if isinstance(outcome, Exception):
                    raise outcome
                keeper.finished(unit, outcome)
                continue
            losses[unit.name] += 1
            if losses[unit.name] == _ATTEMPTS:
                raise RuntimeError(f"unit `{unit.name}`: {_LOST}") from error
            keeper.progress.lost(unit)


@first_only
def _copy_file(source: Path, path: Path) -> None:
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
