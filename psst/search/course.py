"""The search as straight lines: a trunk and its looks, trainings from scratch, rivals, one test."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from psst.pareto import RaySet, Trajectory, das_dennis, rays_between
from psst.pareto.least_squares import Array
from psst.search import choose
from psst.search.judge import Judge, Stage
from psst.search.mixture import (
    MAIN_ONLY,
    Mixture,
    Weights,
    by_methods,
    mixed,
    singles,
    together,
    weighed,
    weight_grid,
)
from psst.search.ranks import agree, first_only
from psst.search.record import unit_path
from psst.search.settings import USUAL, Look, SearchSettings, Setting
from psst.search.unit import Candidate, Line, Measured, Results, Unit

SEARCH = "search"
_FALLEN = 0.1  # of its peak: a schedule below that leaves nothing to fall
_COOL_DOWN = 0.3  # of a training from scratch, in which its learning rate falls


class Row(NamedTuple):
    """What a plan says of some units: steps of each, at most, and passes of all."""

    label: str
    number: int
    steps: float
    passes: float


class Layout(NamedTuple):
    """One look: trade-offs of its branches, passes of each, and trade-offs that there was no room for."""

    mixtures: tuple[Mixture, ...]  # what stands there twice is trained on other batches each time
    passes: float
    left_out: tuple[Mixture, ...] = ()


@dataclass
class Found:
    """What one line has found."""

    line: str  # its name: `search`, or that of a rival
    candidates: list[Candidate] = field(default_factory=list)  # all that were judged
    finals: list[Candidate] = field(default_factory=list)  # those of which one is handed over
    remarks: list[str] = field(default_factory=list)
    units: set[str] = field(default_factory=set)  # names of all; two lines may have some in common
    weights: str = ""  # that tell it from other lines of the rival

    def named(self, label: str) -> str:
        """Name of a unit and its folder."""
        words = [label] if self.line == SEARCH else [self.line, self.weights, label]
        return "-".join(filter(None, words)).replace(" ", "-").replace("/", "-")

    def note_failure(self, unit: Unit, result: Mapping[str, Any]) -> bool:
        """Keep what is to be said of a unit that has failed; return whether it has."""
        if "failed" in result:
            self.remarks.append(f"{unit.name} failed: {result['failed']}")
        return "failed" in result

    def note_left_out(self, look: str, mixtures: Sequence[Mixture], auxiliary: Sequence[str]) -> None:
        """Keep which trade-offs a look had no room for; main only by itself is no trade-off."""
        if names := ", ".join(mixture.name(auxiliary) for mixture in mixtures if mixture.weights):
            self.remarks.append(f"{look} had no room for {names}")

    @property
    def best(self) -> Candidate | None:
        """The best on validation, see `psst.search.choose.preferred`."""
        return choose.preferred(self.finals) if self.finals else None


class Course:
    """Lays out units as their results come in; it runs nothing itself."""

    errors = 1.0  # by how many standard errors a task must be ahead of main only to be tried on

    def __init__(
        self, judge: Judge, settings: SearchSettings, max_passes: int, folder: Path, identity: str
    ) -> None:
        self.judge, self.settings, self.folder, self.identity = judge, settings, folder, identity
        self.max_passes = max_passes
        self.auxiliary = judge.task_names()[1:]
        self.looks = settings.course_of(self.auxiliary)
        self.units: dict[str, Unit] = {}

    @property
    def passes(self) -> float:
        """Of the search alone, as planned."""
        return sum(row.passes for row in self.own_rows())

    def own_rows(self) -> list[Row]:
        """Lay out the search alone."""
        rows: list[Row] = []
        at = 0.0
        for number, (look, layout) in enumerate(self.planned(), 1):
            if look.at > at:
                piece = (look.at - at) * self.max_passes
                rows.append(Row(f"trunk, piece {number}", 1, piece, piece))
                at = look.at
            each, count = layout.passes, len(layout.mixtures)
            rows.append(Row(f"look {number}: {look.tries}", count, each, count * each))
        return rows

    def planned(self) -> list[tuple[Look, Layout]]:
        """Each look, laid out for as many trade-offs as it is likely to want."""
        methods = by_methods((), self.auxiliary, self.settings.methods)
        many = {"rays": len(self._spread()), "around": 4, "methods": 2 * len(methods)}
        many["mixtures"] = 1 + 2 * len(self.auxiliary)
        found = []
        for number, look in enumerate(self.looks, 1):
            count = many.get(str(look.tries))
            wanted = self._tries(look, ()) if count is None else [MAIN_ONLY] * count
            last = number == len(self.looks)
            found.append((look, lay_out(look, wanted, self.max_passes, self.settings, last)))
        return found

    def rows(self) -> list[Row]:
        """Lay out the search and its rivals."""
        rows, passes = self.own_rows(), self.passes
        for name, mixtures in rivals(self.settings, self.auxiliary).items():
            rows.append(Row(f"rival: {name}", len(mixtures), passes / len(mixtures), passes))
        return rows

    def lines(self) -> list[Line]:
        """The search first, then its rivals; those of a grid have a line each."""
        own = [self._line(Found(SEARCH), self.looks, self.max_passes, self.passes)]
        for name, mixtures in rivals(self.settings, self.auxiliary).items():
            for mixture in mixtures:
                found = Found(name, weights=mixture.name(self.auxiliary) if len(mixtures) > 1 else "")
                own.append(self._rival(found, mixture, self.passes / len(mixtures)))
        return own

    def tests(self, finals: Sequence[Candidate]) -> Line:
        """Test some candidates; return what that says, by unit."""
        names = dict.fromkeys(one.unit.name for one in finals)
        tests = [replace(self.units[n], name=f"test {n}", parent=n, test=True, passes=0) for n in names]
        results = yield tests
        return {test.parent: self._measured(test.parent, results[test.name], "test") for test in tests}

    def _rival(self, found: Found, mixture: Mixture, passes: float) -> Line:
        """One trade-off for all of a line: the search's last look, or a training from scratch."""
        last = self.looks[-1]
        if last.at == 0:
            return self._line(found, (Look(),), passes, passes, mixture)
        return self._line(found, (last,), passes / (last.at + (last.at_most or last.length)), passes, mixture)

    def _line(
        self, found: Found, looks: Sequence[Look], passes: float, left: float, only: Mixture | None = None
    ) -> Line:
        """Train once, look around on the way, and let the last look be the cool-down; or look from scratch.

        What earlier looks from a trunk save is spent in its last piece, so that every line costs `left`, what
        was planned; `passes` is its T.
        """
        trunk, at = only or MAIN_ONLY, 0.0
        parent = Unit("", trunk, 0, 0, round(passes) + len(looks))  # nothing, from which the trunk begins
        before: list[Candidate] = []
        for number, look in enumerate(looks, 1):
            last = number == len(looks)
            if look.at > at:
                share = left - self.own_rows()[-1].passes if last and at else (look.at - at) * passes
                stop = parent.stop + self._steps(trunk, share)
                place = (parent.stop, stop, parent.horizon)
                piece = Unit(found.named(f"trunk-{number}"), trunk, *place, parent=parent.name)
                at, parent = look.at, self._training(piece, found)
                left -= parent.passes
                results = yield [parent]
                if found.note_failure(parent, results[parent.name]) and found.line != SEARCH:
                    return found
                self._require(results, parent)
                _check_rates(results[parent.name]["rates"], parent)
            wanted = [only] if only is not None else self._tries(look, before)
            if not look.at:  # the same again from scratch would be the same model
                known = {one.unit.mixture for one in found.candidates}
                wanted = [one for one in dict.fromkeys(wanted) if one not in known]
            layout = lay_out(look, wanted, passes, self.settings, last, left)
            found.note_left_out(f"look {number}", layout.left_out, self.auxiliary)
            units = self._branches(found, number, layout.mixtures, parent, layout.passes)
            left -= sum(unit.passes for unit in units)
            results = yield units
            branches = self._candidates(found, units, results, number)
            chance = agree(self.judge.chance)
            before = [one for one in branches if choose.learned(one, chance)] or before
            if not look.at:
                found.finals = list(found.candidates)
            elif last:
                found.finals += branches
                yield from self._soups(found, number, branches)
                yield from self._rays(found, branches, parent, layout.passes)
            elif units:  # a look without room leaves the trunk as it is
                members = choose.ahead(before, errors=2.0) or [one for one in before if one.is_main_only]
                if members:  # it goes on from their average, with its own optimizer's state
                    trunk = members[0].unit.mixture
                    parent = self._averaging(found.named(f"merged-{number}"), members, found, parent)
                    yield [parent]
        return found

    def _branches(
        self,
        found: Found,
        look: int,
        mixtures: Sequence[Mixture],
        parent: Unit,
        passes: float,
        batches: int = 0,
    ) -> list[Unit]:
        """Branches of a look from the trunk, each on batches of its own; from scratch where there is none."""
        units = []
        for number, mixture in enumerate(mixtures):
            again = mixtures[:number].count(mixture)
            label = f"look{look} {mixture.name(self.auxiliary)}" + (f" ({again + 1})" if again else "")
            name, steps = found.named(label), self._steps(mixture, passes)
            place = (parent.stop, parent.stop + steps, parent.horizon, parent.stop, parent.name)
            branch = Unit(name, mixture, *place, batches=100 * look + batches + number)
            units.append(self._training(branch if parent.name else scratch(name, mixture, steps), found))
        return units

    def _soups(self, found: Found, look: int, branches: Sequence[Candidate]) -> Line:
        """Average the best two, three, ... branches of the last look."""
        order = choose.ranked(branches)
        names = {count: found.named(f"soup of {count}") for count in range(2, len(order) + 1)}
        units = [self._averaging(name, order[:count], found) for count, name in names.items()]
        results = yield units
        found.finals += self._candidates(found, units, results, look)

    def _rays(self, found: Found, branches: Sequence[Candidate], parent: Unit, passes: float) -> Line:
        """Follow rays between branches of the last look that weigh the same tasks."""
        if found.line != SEARCH or not self.settings.rays:
            return
        paths = {one: unit_path(self.folder, one.unit.name) / "trajectory.npz" for one in branches}
        tasks = next((one.unit.mixture.tasks for one in choose.ranked(branches) if not one.is_main_only), ())
        lain = [one for one in branches if one.unit.mixture.tasks == tasks and paths[one].is_file()]
        if not tasks or len(lain) < 2:
            found.remarks.append("no two neighboring branches to lay a ray between")
            return
        lain.sort(key=lambda one: one.unit.mixture.weights)
        rays = rays_between([Trajectory.load(paths[one]) for one in lain])
        weights = lain[0].unit.mixture.weights
        mixtures = self._along(rays, weights, self.settings.ray_method)[: self.settings.rays]
        units = self._branches(found, len(self.looks), mixtures, parent, passes, batches=50)
        results = yield units
        found.finals += self._candidates(found, units, results)

    def _tries(self, look: Look, before: Sequence[Candidate]) -> list[Mixture]:
        """The trade-offs that a look would like to try."""
        if look.given:
            return [weighed(weights, self.auxiliary) for weights in look.given]
        if look.tries == "grid":
            return weight_grid(self.auxiliary)
        if look.tries == "rays":  # evenly spread, and standing still
            rays = RaySet.from_losses(self._spread()).lasting(self.max_passes)
            return self._along(rays, together(self.auxiliary).weights, "min_norm")
        if look.tries == "singles" or not before:
            return singles(self.auxiliary)
        if look.tries == "around":
            return choose.tried_again(before, self.errors)
        best = choose.best_weights(before, self.errors)
        if look.tries == "mixtures":
            return mixed(best, self.auxiliary, self.judge.raw_tasks())
        helping = [task for task in self.auxiliary if task in best]
        return by_methods(helping, self.auxiliary, self.settings.methods)

    def _spread(self) -> Array:
        """Losses through which evenly spread rays go: five for two tasks, six for three, m for more."""
        m = 1 + len(self.auxiliary)
        return das_dennis(m, {2: 4, 3: 2}.get(m, 1))

    def _along(self, rays: RaySet, weights: Weights, method: str) -> list[Mixture]:
        """Leave rays in the search's folder, and return a trade-off that follows each."""
        path = self.folder / "rays.npz"
        first_only(rays.save)(path)
        agree(None)
        return [Mixture(weights, method, (path.name, index)) for index in range(len(rays))]

    def _training(self, unit: Unit, found: Found) -> Unit:
        origins = [self.units[unit.parent].key] if unit.parent else []
        return self._known(unit, found, unit.steps * self.judge.cost(unit.mixture.tasks), origins)

    def _averaging(
        self, name: str, members: Sequence[Candidate], found: Found, parent: Unit | None = None
    ) -> Unit:
        """Average candidates; it is validated on the tasks of the first."""
        models = [one.unit for one in members]
        names, first = tuple(one.name for one in models), models[0]
        step = (parent or first).stop
        place = (step, step, first.horizon, step, parent.name if parent else "")
        unit = Unit(name, first.mixture, *place, fold=first.fold, members=names)
        passes = self.settings.renewal_batches / 3  # a forward pass is a third of a step
        return self._known(unit, found, passes, [one.key for one in models])

    def _known(self, unit: Unit, found: Found, passes: float, origins: Sequence[str]) -> Unit:
        """Give a unit its cost and its key, which says what it goes on from, and keep it."""
        content = json.dumps([self.identity, *origins, asdict(replace(unit, name=""))], sort_keys=True)
        unit = replace(unit, passes=passes, key=hashlib.sha256(content.encode()).hexdigest()[:32])
        self.units[unit.name] = unit
        found.units.add(unit.name)
        return unit

    def _candidates(
        self, found: Found, units: Sequence[Unit], results: Results, look: int = 0
    ) -> list[Candidate]:
        """Read the units that did not fail."""
        judged = []
        for unit in units:
            result = results[unit.name]
            if found.note_failure(unit, result):
                continue
            name = f"soup of {len(unit.members)}" if unit.members else unit.mixture.name(self.auxiliary)
            if found.weights:
                name = f"{found.weights}, {name}" if unit.members else found.weights
            measured = self._measured(unit.name, result)
            judged.append(Candidate(name, unit, found.line, measured, result, look))
        found.candidates += judged
        if units and found.line == SEARCH and not judged and not found.finals:
            raise ValueError(f"all branches of a look of `{SEARCH}` have failed: {'; '.join(found.remarks)}")
        return judged

    def _require(self, results: Results, unit: Unit) -> None:
        """Raise ValueError where a unit that others need has failed."""
        if "failed" in results[unit.name]:
            raise ValueError(f"`{unit.name}` has failed: {results[unit.name]['failed']}")

    def _steps(self, mixture: Mixture, passes: float) -> int:
        """Optimizer steps that some passes buy."""
        return max(1, round(passes / self.judge.cost(mixture.tasks)))

    def _measured(self, name: str, result: Mapping[str, Any], stage: Stage = "val") -> Measured:
        return self.judge.measured(unit_path(self.folder, name), result, stage)


def lay_out(
    look: Look,
    candidates: Sequence[Mixture],
    passes: float,
    settings: SearchSettings,
    last: bool,
    left: float | None = None,
) -> Layout:
    """Divide a look's passes among trade-offs, the first of them first.

    A look from the trunk that is the last one uses up its passes, with the first trade-offs a second time
    where there are few; any other look leaves the rest to the trunk. Without room for two branches, an
    earlier look from the trunk has none. `passes` is T of the line, and `left` what the last look uses up;
    as planned if None.
    """
    least = settings.least_last_steps if last else settings.least_steps
    length = max(look.length * passes, float(least) if look.at else 0.0)
    whole = passes * (look.length * len(candidates) if look.at_most is None else look.at_most)
    room = int(whole / length + 1e-6)
    if last and look.at:
        room = max(room, 1)
        length = (whole if left is None else max(left, float(room))) / room
        again = [candidates[place % len(candidates)] for place in range(room)]
        return Layout(tuple(again), length, tuple(candidates[room:]))
    if look.at and min(room, len(candidates)) < 2:
        room = 0
    return Layout(tuple(candidates[:room]), length, tuple(candidates[room:]))


def rivals(settings: SearchSettings, auxiliary: Sequence[str]) -> dict[str, list[Mixture]]:
    """Return each rival's trade-offs: a course of its own for every one, which share the rival's passes."""
    known = {"plain": [MAIN_ONLY], "fixed": [together(auxiliary)], "grid": weight_grid(auxiliary)}
    return {name: known[name] for name in dict.fromkeys(("plain", *settings.rivals))}


def scratch(
    name: str, mixture: Mixture, steps: int, fold: tuple[int, int] | None = None, setting: Setting = USUAL
) -> Unit:
    """A training from scratch, with the cool-down that every training needs."""
    falls = round((1 - _COOL_DOWN) * steps)
    return Unit(name, mixture, 0, steps, steps, falls, fold=fold, setting=setting)


def _check_rates(rates: Sequence[float], unit: Unit) -> None:
    """Raise ValueError where the user's schedule has fallen so far that a look has nothing to let fall."""
    now, peak = rates
    if now < _FALLEN * peak:
        raise ValueError(
            f"`model.init_args.scheduler` has the learning rate at {now:.2g} at step {unit.stop}, "
            f"below a tenth of its peak {peak:.2g}: a look that leaves the trunk there lets it fall and "
            "finds nothing to learn with. Leave the schedule out, or keep it high (a warm-up is welcome)."
        )
