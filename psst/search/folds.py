"""The course on folds: every trade-off is trained from scratch, judged on classes it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from psst.search import choose
from psst.search.course import SEARCH, Course, Found, Row, lay_out, scratch
from psst.search.judge import Judge
from psst.search.mixture import MAIN_ONLY, Mixture, singles, together
from psst.search.settings import USUAL, Look, SearchSettings, Setting, varied
from psst.search.unit import Candidate, Line, Unit

FROZEN, OWN = "frozen", "own"


class FoldCourse(Course):
    """First main only with several settings; the best of them trains every other trade-off.

    Every training has T steps, whatever its tasks cost: more of them is a setting that `plain` may choose.
    `plain` gets as many settings as the search tries trade-offs and settings, as far as `vary` has them;
    equal weights the best of them. Trainings that two lines have in common are done once. What is best of
    each is trained again on all classes that are not for testing.
    """

    errors = 0.0  # a training costs little, and folds judge what comes of it

    @property
    def folds(self) -> int:
        """How many, as asked for."""
        return max(look.folds for look in self.looks)

    def rows(self) -> list[Row]:
        """Settings, looks, rivals and last trainings; a mixture is taken to cost what half the tasks do."""
        first, settings = len(_first_settings(self.settings.vary)), len(varied(self.settings.vary))
        further = max(min(self.tried_on_folds, settings) - first, 0)
        mixed = (1 + self.judge.cost(self.auxiliary)) / 2
        alone = sum(self.judge.cost((task,)) for task in self.auxiliary) / len(self.auxiliary)
        plan = [("settings, main only", first * self.folds, 1.0, 1.0)]
        for look, layout in self.planned():
            cost = alone if look.tries == "singles" else mixed
            plan.append((str(look.tries), len(layout.mixtures) * self.folds, look.length, cost))
        finals = 2 + ("fixed" in self.settings.rivals)
        plan += [("rival: plain, further settings", further * self.folds, 1.0, 1.0)]
        plan += [("training on all classes", finals, 1.0, (2 * mixed + 1) / finals)]
        each = [(label, count, length * self.max_passes, cost) for label, count, length, cost in plan]
        return [Row(label, count, steps, count * steps * cost) for label, count, steps, cost in each]

    @property
    def tried_on_folds(self) -> int:
        """Settings and trade-offs that the search tries, as planned."""
        tried = sum(len(layout.mixtures) for _, layout in self.planned())
        return len(_first_settings(self.settings.vary)) + tried

    def lines(self) -> list[Line]:
        """The search, plain training, equal weights, and the frozen features where there are such."""
        plain = [(MAIN_ONLY, one) for one in varied(self.settings.vary)[: self.tried_on_folds]]
        own = [self._search(), self._alone("plain", plain)]
        if "fixed" in self.settings.rivals:
            own.append(self._fixed())
        if frozen := self.judge.frozen:
            own.append(self._alone(FROZEN, [(MAIN_ONLY, one) for one in frozen], steps=0))
        return own

    @property
    def own_options(self) -> tuple[tuple[str, Any], ...]:
        """Keys of the config that make the user's own network, without auxiliary tasks."""
        return (*self.settings.own.items(), ("model.init_args.auxiliary", "[]"))

    def own_line(self, steps: int) -> Line:
        """The user's own small network: on one fold, and on all classes, for as many steps each."""
        tried = [(MAIN_ONLY, Setting(options=self.own_options))]
        return self._alone(OWN, tried, steps=steps, folds=1)

    def _search(self) -> Line:
        found = Found(SEARCH)
        setting = yield from self._best_setting(found)
        for look in self.looks:
            alike = [one for one in found.candidates if one.unit.setting == setting]
            known = {one.unit.mixture for one in alike}
            wanted = [mixture for mixture in self._tries(look, alike) if mixture not in known]
            layout = lay_out(look, wanted, self.max_passes, self.settings, last=False)
            found.note_left_out("a look", layout.left_out, self.auxiliary)
            yield from self._tried(found, [(mixture, setting) for mixture in layout.mixtures], look.length)
        # only what was trained alike says what a task does
        found.candidates = [replace(one, look=int(one.unit.setting == setting)) for one in found.candidates]
        yield from self._finals(found)
        return found

    def _best_setting(self, found: Found) -> Line:
        """Try main only with single departures from the usual setting, and with all that helped."""
        vary = self.settings.vary
        first = yield from self._tried(found, [(MAIN_ONLY, one) for one in _first_settings(vary)])
        last = _best_of_each(first, vary)
        if last is not None:
            yield from self._tried(found, [(MAIN_ONLY, last)])
        return choose.ranked(found.candidates)[0].unit.setting

    def _fixed(self) -> Line:
        """Equal weights, with the setting that was best on main only."""
        setting = yield from self._best_setting(Found("fixed"))
        return (yield from self._alone("fixed", [(together(self.auxiliary), setting)]))

    def _alone(self, line: str, tried: Sequence[tuple[Mixture, Setting]], **how: Any) -> Line:
        """Try on folds as `_tried` does, and train the best again on all classes."""
        found = Found(line)
        yield from self._tried(found, tried, **how)
        yield from self._finals(found)
        return found

    def _tries(self, look: Look, before: Sequence[Candidate]) -> list[Mixture]:
        if look.tries == "singles":
            return [one for one in singles(self.auxiliary) if one.weights]  # main only was tried already
        return super()._tries(look, before)

    def _tried(
        self,
        found: Found,
        tried: Sequence[tuple[Mixture, Setting]],
        length: float = 1.0,
        steps: int | None = None,
        folds: int | None = None,
    ) -> Line:
        """Train trade-offs from scratch on each fold; return what was judged, and keep it."""
        left_out = [(fold, self.folds) for fold in range(folds or self.folds)]
        groups: dict[str, list[Unit]] = {}
        for mixture, setting in tried:
            whole = replace(setting, length=length * setting.length)
            called = FROZEN if found.line == FROZEN else mixture.name(self.auxiliary)
            label = OWN if found.line == OWN else whole.name(called)
            count = max(1, round(whole.length * self.max_passes)) if steps is None else steps
            units = [scratch(_unit_name(label, fold), mixture, count, fold, setting) for fold in left_out]
            groups[label] = [self._training(unit, found) for unit in units]
        results = yield [unit for group in groups.values() for unit in group]
        judged = []
        for label, group in groups.items():
            if any(found.note_failure(unit, results[unit.name]) for unit in group):
                continue
            measured = choose.merged([self._measured(unit.name, results[unit.name]) for unit in group])
            judged.append(Candidate(label, group[0], found.line, measured, results[group[0].name]))
        found.candidates += judged
        return judged

    def _finals(self, found: Found) -> Line:
        """Train the best again on all classes that are not for testing."""
        if not found.candidates:
            raise ValueError(f"all trainings of `{found.line}` have failed: {'; '.join(found.remarks)}")
        best = choose.ranked(found.candidates)[0]
        fold, own = (-1, self.folds), best.unit
        name = _unit_name(f"final {best.name}", fold)
        final = self._training(scratch(name, own.mixture, own.steps, fold, own.setting), found)
        results = yield [final]
        self._require(results, final)
        chosen = replace(best, unit=final, result=results[final.name])
        found.candidates = [chosen if one is best else one for one in found.candidates]
        found.finals = [chosen]


def make_course(
    judge: Judge, settings: SearchSettings, max_passes: int, folder: Path, identity: str
) -> Course:
    """Return the course that the settings ask for."""
    looks = settings.course_of(judge.task_names()[1:])
    kind = FoldCourse if any(look.folds > 1 for look in looks) else Course
    return kind(judge, settings, max_passes, folder, identity)


def _unit_name(label: str, fold: tuple[int, int]) -> str:
    label = f"{label} fold {fold[0] + 1}" if fold[0] >= 0 else label
    return label.translate(str.maketrans(" ", "-", ",/()"))


def _first_settings(vary: Mapping[str, list[Any]]) -> list[Setting]:
    """The usual setting, and those that depart from it in one key."""
    return varied(vary)[: 1 + sum(len(values) - 1 for values in vary.values())]


def _best_of_each(found: Sequence[Candidate], vary: Mapping[str, list[Any]]) -> Setting | None:
    """The setting that joins all single departures that were ahead of the usual one; None for one or none."""
    usual = next((one for one in found if one.unit.setting == USUAL), None)
    ahead = [one for one in choose.ranked(found) if usual is not None and one.quality > usual.quality]
    joined: dict[str, Any] = {}
    for one in ahead:
        for key, value in one.unit.setting.departures.items():
            joined.setdefault(key, value)
    return Setting.of({key: joined[key] for key in vary if key in joined}) if len(joined) > 1 else None
