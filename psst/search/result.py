"""What a search has found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psst.evaluation import ClassDifference
from psst.search import choose
from psst.search.course import SEARCH, Found
from psst.search.folds import FROZEN, OWN
from psst.search.unit import Candidate, Measured, Metric

if TYPE_CHECKING:
    from psst.search.examples import Told

PLAIN = "plain"


@dataclass
class SearchResult:
    """Candidates, what is handed over, and what the test says.

    Attributes:
        metric: The validation metric that chooses.
        tasks: Names of the losses, main first.
        found: What the search and its rivals have found, by name; `grid` joins all of its weights.
        best_checkpoint: Of the model that is handed over, an ordinary one of Lightning.
        units: All finished units with what they reported.
        chance: Losses of guesses that know nothing, by task.
        costs: Passes of a step on main and one auxiliary task, by task.
        tests: Of the finals, by name; empty where nothing is tested.
        looks_at_test: When models have seen the test, and which.
        told: What the model that is handed over tells of test classes, query by query.
        remarks: What is to be said beside.
    """

    metric: Metric
    tasks: list[str]
    found: dict[str, Found]
    best_checkpoint: Path
    units: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    tests: dict[str, Measured] = field(default_factory=dict)
    looks_at_test: list[dict[str, Any]] = field(default_factory=list)
    told: "Told | None" = None
    remarks: list[str] = field(default_factory=list)

    @property
    def candidates(self) -> list[Candidate]:
        """All models that were judged, the best on validation first; one that lines share stands once."""
        judged = {one.unit.name: one for found in reversed(self.found.values()) for one in found.candidates}
        return choose.ranked(list(judged.values()))

    @property
    def finals(self) -> dict[str, Candidate]:
        """The best of the search alone and of each rival: one of them is handed over."""
        best = {name: found.best for name, found in self.found.items()}
        return {name: one for name, one in best.items() if one is not None}

    @property
    def handed_over(self) -> str:
        """The name of the final that does best on validation; the simplest of equals.

        Frozen features take its place where they are within one standard error, else plain training where
        it is within two: where the interval of the difference says nothing.
        """
        order = [PLAIN, *(name for name in self.finals if name not in (PLAIN, OWN))]
        known = [name for name in order if name in self.finals]
        best = max(known, key=lambda name: self.finals[name].quality)
        for simpler, errors in ((FROZEN, 1.0), (PLAIN, 2.0)):
            if simpler in known and best != simpler:
                gap = self.finals[best].measured - self.finals[simpler].measured
                if gap.mean <= errors * gap.standard_error:
                    return simpler
        return best

    @property
    def best(self) -> Candidate:
        """What is handed over."""
        return self.finals[self.handed_over]

    @property
    def names_of_finals(self) -> dict[str, str]:
        """Which final a unit is, or which ones, by the name of the unit."""
        names: dict[str, str] = {}
        for name, one in self.finals.items():
            names[one.unit.name] = f"{names[one.unit.name]} {name}" if one.unit.name in names else name
        return names

    def passes(self, name: str) -> float:
        """What the search alone, or a rival, has cost."""
        return self._sum("passes", self.found[name].units)

    def seconds(self, name: str) -> float:
        """Of training, summed over units."""
        return self._sum("seconds", self.found[name].units)

    @property
    def total_passes(self) -> float:
        """Of everything."""
        return self._sum("passes", self.units)

    def _sum(self, what: str, units: Iterable[str]) -> float:
        return sum(float(self.units[unit].get(what, 0.0)) for unit in units)

    def test_difference(self, one: str, other: str) -> ClassDifference | None:
        """Of two finals on the test; None where one was not tested."""
        if one == other or one not in self.tests or other not in self.tests:
            return None
        return self.tests[one] - self.tests[other]

    @property
    def still_improving(self) -> ClassDifference | None:
        """What main only has gained between the last two looks, where that is more than nothing."""
        found = self.found[SEARCH].candidates
        looks = sorted({one.look for one in found if one.look})
        ends = [
            choose.plainest([c for c in found if c.look == look and not c.unit.members])
            for look in looks[-2:]
        ]
        if len(ends) < 2 or ends[0] is None or ends[1] is None:
            return None
        gain = ends[1].measured - ends[0].measured
        return gain if gain.better else None


def joined(found: Iterable[Found]) -> dict[str, Found]:
    """Put the lines of a grid into one rival; each line gives its best to choose from."""
    kept: dict[str, Found] = {}
    for one in found:
        whole = kept.setdefault(one.line, Found(one.line))
        whole.candidates += one.candidates
        whole.finals += [one.best] if one.best else []
        whole.remarks += one.remarks
        whole.units |= one.units
    return kept
