"""The search as straight lines: a trunk and its looks, trainings from scratch, rivals, one test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psst.pareto import RaySet, Trajectory, das_dennis, rays_between
from psst.search import choose
from psst.search.judge import Judge
from psst.search.mixture import MAIN_ONLY, Mixture, by_methods, singles, together, weight_grid
from psst.search.plan import course_passes, lay_out, look_sizes, rivals, steps_of
from psst.search.ranks import agree, first_only
from psst.search.record import unit_path
from psst.search.runner import check_rates
from psst.search.settings import USUAL, Look, SearchSettings, Setting
from psst.search.unit import Candidate, Line, Measured, Results, Unit, Work

SEARCH = "search"
PlanRow = tuple[str, int, str, float]
"""What a plan says: label, number of units, steps of each, passes of all."""
_COOL_DOWN = 0.3  # of a training from scratch, in which its learning rate falls
_DIVISIONS = {1: 4, 2: 2}  # of the evenly spread rays, by the number of auxiliary tasks; 1 for more


@dataclass
class Found:
    """What one line has found.

    Attributes:
        line: Its name.
        candidates: All that were judged.
        finals: Those of which one is handed over.
        remarks: What is to be said.
        units: Names of all units that it consists of; two lines may have some in common.
    """

    line: str
    candidates: list[Candidate] = field(default_factory=list)
    finals: list[Candidate] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    units: set[str] = field(default_factory=set)

    def note_failure(self, unit: Unit, result: Mapping[str, Any]) -> bool:
        """Keep what is to be said of a unit that has failed; return whether it has."""
        if "failed" in result:
            self.remarks.append(f"{unit.name} failed: {result['failed']}")
        return "failed" in result

    @property
    def best(self) -> Candidate | None:
        """The best on validation, see `psst.search.choose.preferred`."""
        return choose.preferred(self.finals) if self.finals else None


@dataclass(frozen=True)
class Fork:
    """Where a look leaves the trunk.

    Attributes:
        parent: Name of the trunk's last piece.
        step: Its last optimizer step.
        horizon: `max_steps` of the line's trainers.
        passes: Of each branch.
    """

    parent: str
    step: int
    horizon: int
    passes: float


class Course:
    """Lays out units as their results come in; it runs nothing itself.

    Attributes:
        errors: By how many standard errors a task must be ahead of main only to be tried on.

    Args:
        judge: Reads what was measured, and knows costs.
        settings: Of the search.
        max_passes: T.
        folder: Of the search.
        identity: Of the run, for the units' keys.
    """

    errors = 1.0

    def __init__(
        self, judge: Judge, settings: SearchSettings, max_passes: int, folder: Path, identity: str
    ) -> None:
        self.judge, self.settings, self.folder, self.identity = judge, settings, folder, identity
        self.max_passes = max_passes
        self.auxiliary = judge.task_names()[1:]
        self.looks = settings.course_of(len(self.auxiliary))
        self.units: dict[str, Unit] = {}
        self.keys: dict[str, str] = {}

    @property
    def passes(self) -> float:
        """Of the search alone, as planned."""
        sizes = look_sizes(self.looks, self.auxiliary, self.settings)
        return course_passes(self.looks, sizes, self.max_passes, self.settings)

    def rows(self) -> list[PlanRow]:
        """Lay out the search and its rivals."""
        rows: list[PlanRow] = []
        at, passes = 0.0, self.max_passes
        sizes = look_sizes(self.looks, self.auxiliary, self.settings)
        for number, (look, size) in enumerate(zip(self.looks, sizes, strict=True), 1):
            if look.at > at:
                piece = (look.at - at) * passes
                rows.append((f"trunk, piece {number}", 1, f"{round(piece)}", piece))
                at = look.at
            layout = lay_out(look, [MAIN_ONLY] * size, passes, self.settings, number == len(self.looks))
            costly = steps_of(together(self.auxiliary), layout.passes, self.judge.cost)
            steps, count = f"{costly} to {round(layout.passes)}", len(layout.mixtures)
            rows.append((f"look {number}: {look.tries}", count, steps, count * layout.passes))
        for name, mixtures in rivals(self.settings, self.auxiliary).items():
            each = f"at most {round(self.passes / len(mixtures))}"
            rows.append((f"rival: {name}", len(mixtures), each, self.passes))
        return rows

    def lines(self) -> dict[str, Line]:
        """The search first, then its rivals; those of a grid have a line each."""
        own = {SEARCH: self.search_line()}
        for name, mixtures in rivals(self.settings, self.auxiliary).items():
            for mixture in mixtures:
                label = name if len(mixtures) == 1 else f"{name} {mixture.name(self.auxiliary)}"
                own[label] = self._rival(label, mixture, self.passes / len(mixtures))
        return own

    def search_line(self) -> Line:
        """The search."""
        if self.looks[0].at > 0:
            return self._from_trunk(SEARCH, self.looks, self.max_passes, self.passes)
        return self._from_scratch(SEARCH, self.looks, self.max_passes)

    def tests(self, finals: Sequence[Candidate]) -> Line:
        """Test some candidates; return what that says, by unit."""
        units = {one.unit: self.units[one.unit] for one in finals}
        works = {name: Work(unit, self.keys[name], test=True) for name, unit in units.items()}
        results = yield list(works.values())
        return {
            name: self.judge.measured(self._folder(name), results[work.name], "test")
            for name, work in works.items()
        }

    def _rival(self, line: str, mixture: Mixture, passes: float) -> Line:
        """One trade-off for all of a line: the search's last look, or a training from scratch."""
        last = self.looks[-1]
        if last.at > 0:
            share = last.at + (last.at_most or last.length)
            return self._from_trunk(line, (last,), passes / share, passes, mixture)
        return self._from_scratch(line, (Look(length=1.0),), passes, [mixture])

    def _from_trunk(
        self, line: str, looks: Sequence[Look], passes: float, left: float, only: Mixture | None = None
    ) -> Line:
        """Train once, look around on the way, and let the last look be the cool-down.

        What earlier looks save is spent in the last one, so that every line costs `left`, what was planned;
        `passes` is its T.
        """
        found = Found(line)
        trunk = only or (together(self.auxiliary) if self.settings.start == "all" else MAIN_ONLY)
        horizon, parent, step, at = round(passes) + len(looks), "", 0, 0.0
        before: list[Candidate] = []
        for number, look in enumerate(looks, 1):
            if look.at > at:
                stop = step + steps_of(trunk, (look.at - at) * passes, self.judge.cost)
                unit = Unit(_named(line, f"trunk-{number}"), trunk, step, stop, horizon, parent=parent)
                work = self._training(unit, found)
                left -= work.passes
                results = yield [work]
                if found.note_failure(unit, results[unit.name]) and line != SEARCH:
                    return found
                require(results, unit)
                check_rates(results[unit.name]["rates"], unit)
                parent, step, at = unit.name, stop, look.at
            last = number == len(looks)
            wanted = [only] if only is not None else self._tries(look, before)
            layout = lay_out(look, wanted, passes, self.settings, last, left)
            if layout.left_out and only is None:
                names = ", ".join(mixture.name(self.auxiliary) for mixture in layout.left_out)
                found.remarks.append(f"look {number} had no room for {names}")
            fork = Fork(parent, step, horizon, layout.passes)
            units = self._branches(line, number, layout.mixtures, fork)
            works = [self._training(unit, found) for unit in units]
            left -= sum(work.passes for work in works)
            results = yield works
            before = self._candidates(line, number, units, results, found) or before
            if last:
                found.finals = [one for one in before if one.look == number]
                yield from self._soups(line, number, found.finals, found)
                yield from self._rays(line, found.finals[: len(units)], fork, found)
            elif units:  # a look without room leaves the trunk as it is
                if only is None:
                    leading = choose.ahead(before, errors=2.0)
                    trunk = leading[0].mixture if leading else MAIN_ONLY
                members = choose.region(before)
                if self.settings.goes_on == "average" and len(members) > 1:
                    work = self._averaging(_named(line, f"merged-{number}"), members, found, parent)
                    yield [work]  # it goes on from the average, with its own optimizer's state
                    parent = work.name
        return found

    def _from_scratch(
        self, line: str, looks: Sequence[Look], passes: float, only: Sequence[Mixture] | None = None
    ) -> Line:
        """Train every trade-off from scratch, on the classes that the data train on."""
        found = Found(line)
        before: list[Candidate] = []
        for number, look in enumerate(looks, 1):
            wanted = list(only) if only is not None else self._tries(look, before)
            known = {one.mixture for one in found.candidates}
            layout = lay_out(look, [m for m in wanted if m not in known], passes, self.settings, False)
            units = []
            for mixture in layout.mixtures:
                steps = steps_of(mixture, layout.passes, self.judge.cost)
                name = _named(line, f"look{number} {mixture.name(self.auxiliary)}")
                units.append(scratch(name, mixture, steps))
            results = yield [self._training(unit, found) for unit in units]
            before = self._candidates(line, number, units, results, found) or before
        found.finals = list(found.candidates)
        return found

    def _branches(self, line: str, look: int, mixtures: Sequence[Mixture], fork: Fork) -> list[Unit]:
        """Branches of a look from the trunk, each on batches of its own."""
        units = []
        for number, mixture in enumerate(mixtures):
            stop = fork.step + steps_of(mixture, fork.passes, self.judge.cost)
            again = mixtures[:number].count(mixture)
            label = f"look{look} {mixture.name(self.auxiliary)}" + (f" ({again + 1})" if again else "")
            name = _named(line, label)
            place = (fork.step, stop, fork.horizon, fork.step, fork.parent)
            units.append(Unit(name, mixture, *place, batches=100 * look + number))
        return units

    def _soups(self, line: str, look: int, branches: Sequence[Candidate], found: Found) -> Line:
        """Average the best two, three, ... branches of the last look."""
        order = choose.ranked(branches)
        works = []
        for count in range(2, len(order) + 1):
            works.append(self._averaging(_named(line, f"soup of {count}"), order[:count], found))
        results = yield works
        for count, work in enumerate(works, 2):
            result = results[work.name]
            measured = self._measured(work.unit, result)
            parts = (order[0].mixture, measured, result, work.unit.members, look)
            soup = Candidate(f"soup of {count}", work.name, line, *parts)
            found.candidates.append(soup)
            found.finals.append(soup)

    def _rays(self, line: str, branches: Sequence[Candidate], fork: Fork, found: Found) -> Line:
        """Follow rays between branches of the last look that weigh the same tasks."""
        if line != SEARCH or not self.settings.rays:
            return
        paths = {one: self._folder(one.unit) / "trajectory.npz" for one in branches}
        tasks = next((one.mixture.tasks for one in choose.ranked(branches) if not one.is_main_only), ())
        lain = [one for one in branches if one.mixture.tasks == tasks and paths[one].is_file()]
        if not tasks or len(lain) < 2:
            found.remarks.append("no two neighboring branches to lay a ray between")
            return
        lain.sort(key=lambda one: one.mixture.weights)
        rays = rays_between([Trajectory.load(paths[one]) for one in lain])
        path = self.folder / "rays.npz"
        first_only(rays.save)(path)
        agree(None)
        method = self.settings.ray_method
        weights = lain[0].mixture.weights
        mixtures = [Mixture(weights, method, (path.name, i)) for i in range(len(rays))][: self.settings.rays]
        units = self._branches(line, len(self.looks), mixtures, fork)
        units = [replace(unit, batches=unit.batches + 50) for unit in units]
        results = yield [self._training(unit, found) for unit in units]
        found.finals += self._candidates(line, 0, units, results, found)

    def _tries(self, look: Look, before: Sequence[Candidate]) -> list[Mixture]:
        """The trade-offs that a look would like to try."""
        if look.tries == "grid":
            return weight_grid(self.auxiliary)
        if look.tries == "rays":
            return self._even_rays()
        if look.tries == "singles" or not before:
            return singles(self.auxiliary)
        if look.tries == "methods":
            best = choose.best_weights(before, self.errors)
            helping = [task for task in self.auxiliary if task in best]
            return by_methods(helping, self.auxiliary, self.settings.methods, self.settings.levels)
        return choose.next_mixtures(look.tries, before, self.auxiliary, self.errors)

    def _even_rays(self) -> list[Mixture]:
        """Rays that stand still, evenly spread."""
        path, m = self.folder / "rays.npz", 1 + len(self.auxiliary)
        rays = RaySet.from_losses(das_dennis(m, _DIVISIONS.get(m - 1, 1))).lasting(self.max_passes)
        first_only(rays.save)(path)
        agree(None)
        weights = together(self.auxiliary).weights
        return [Mixture(weights, "min_norm", (path.name, index)) for index in range(len(rays))]

    def _training(self, unit: Unit, found: Found) -> Work:
        key = unit.key(self.identity, self.keys.get(unit.parent, ""))
        self.units[unit.name], self.keys[unit.name] = unit, key
        found.units.add(unit.name)
        return Work(unit, key, unit.steps * self.judge.cost(unit.mixture.tasks))

    def _averaging(self, name: str, members: Sequence[Candidate], found: Found, parent: str = "") -> Work:
        """Average candidates; it is validated on the tasks of the first."""
        names = tuple(one.unit for one in members)
        model = self.units[names[0]]
        step = self.units[parent].stop if parent else model.stop
        place = (step, step, model.horizon, step, parent)
        unit = Unit(name, model.mixture, *place, fold=model.fold, members=names)
        key = unit.key(self.identity, *(self.keys[name] for name in names))
        self.units[name], self.keys[name] = unit, key
        found.units.add(name)
        renewal = self.settings.renewal_batches / 3  # a forward pass is a third of a step
        return Work(unit, key, renewal)

    def _candidates(
        self, line: str, look: int, units: Sequence[Unit], results: Results, found: Found
    ) -> list[Candidate]:
        """Read the units that did not fail."""
        judged = []
        for unit in units:
            result = results[unit.name]
            if found.note_failure(unit, result):
                continue
            name = unit.mixture.name(self.auxiliary)
            measured = self._measured(unit, result)
            judged.append(Candidate(name, unit.name, line, unit.mixture, measured, result, look=look))
        found.candidates += judged
        if not judged and units and line == SEARCH:
            raise ValueError(f"all branches of a look of `{line}` have failed: {'; '.join(found.remarks)}")
        return judged

    def _measured(self, unit: Unit, result: Mapping[str, Any]) -> Measured:
        return self.judge.measured(self._folder(unit.name), result)

    def _folder(self, name: str) -> Path:
        return unit_path(self.folder, name)


def scratch(
    name: str, mixture: Mixture, steps: int, fold: tuple[int, int] | None = None, setting: Setting = USUAL
) -> Unit:
    """A training from scratch, with the cool-down that every training needs."""
    falls = round((1 - _COOL_DOWN) * steps)
    rate, options = setting.rate, setting.options
    return Unit(name, mixture, 0, steps, steps, falls, fold=fold, rate=rate, options=options)


def require(results: Results, unit: Unit) -> None:
    """Raise ValueError where a unit that others need has failed."""
    if "failed" in results[unit.name]:
        raise ValueError(f"`{unit.name}` has failed: {results[unit.name]['failed']}")


def _named(line: str, label: str) -> str:
    """Name of a unit and its folder."""
    return (label if line == SEARCH else f"{line} {label}").replace(" ", "-").replace("/", "-")
