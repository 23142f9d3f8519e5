"""Keeps a search within its budget: what is planned at first, and what still fits after each decision."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from psst.files import read_json, write_json
from psst.search.budgets.budget import Budget, CostModel
from psst.search.budgets.plan import Done, Frame, SearchPlan, fit_schedule, planned_cost, refit, rung_counts
from psst.search.ranks import agree, first_only
from psst.search.settings import SearchSettings
from psst.search.units import Unit

_FORMAT = 1
_SURE = 0.85
"""Share of a time that is planned at first, for a pace measured in seconds may not last; the rest goes into
rays inside the region if it is there."""
_Units = Mapping[str, Mapping[str, Any]]


@dataclass
class Pacer:
    """Plans of one search."""

    budget: Budget  # of the whole search, earlier runs of it included
    frame: Frame  # what the user has asked for
    first: SearchPlan  # what the search was started with, and the most that its settings allow
    plan: SearchPlan  # what is to be done as far as is known now
    model: CostModel  # cost of the parts; in seconds it follows the measured pace
    path: Path | None = None  # where plan and time spent are kept; None keeps nothing
    say: Callable[[str], None] = lambda line: None  # gets a line whenever the plan changes
    spent_before: float = 0.0  # seconds of earlier runs, and of measuring the pace
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)  # plans so far, by name

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._asked = self.frame
        asked, first = self.frame.settings, self.first
        self.settings: SearchSettings = replace(
            asked,
            auxiliary_weights=self.frame.weights(first.n_weights),
            max_explored=first.explored,
            baselines=asked.baselines and first.baselines > 0,
            max_tangents=first.tangents,
        )

    @classmethod
    def open(
        cls,
        frame: Frame,
        budget: Budget,
        folder: Path | None,
        measure: Callable[[], tuple[CostModel, float]],
        say: Callable[[str], None] = lambda line: None,
        started: bool = False,
    ) -> "Pacer":
        """Plan a search, or take up the plan of the one in `folder`; a new one alone measures the cost.

        Raises:
            ValueError: The budget pays for nothing, or the folder holds a search with another one.
        """
        path = None if folder is None else _budget_file(folder)
        if started and path is not None and path.is_file():
            kept = _read_plan(path)
            if kept["budget"]["amount"] != budget.amount or kept["budget"]["in_steps"] != budget.in_steps:
                raise ValueError(
                    f"`{budget.typed}`: the search in {folder} was planned for `{kept['budget']['typed']}`; "
                    "go on with that, or name another folder."
                )
            first, model = SearchPlan(**kept["first"]), CostModel(**kept["model"])
            return cls(
                budget, frame, first, first, model, path, say, float(kept["seconds"]), kept["decisions"]
            )
        if started:
            raise ValueError(
                f"`{budget.typed}`: the search in {folder} was started without a budget; go on without, or "
                "name another folder."
            )
        model, seconds = measure()
        left = budget if budget.in_steps else replace(budget, amount=_SURE * (budget.amount - seconds))
        plan = fit_schedule(frame, left, model)
        return cls(budget, frame, plan, plan, model, path, say, seconds)

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self.spent_before + time.monotonic() - self._began

    def left(self, units: _Units) -> float:
        """What is left of the budget, by the units that the manifest holds.

        Of a number of steps, the baselines' are set aside from the beginning: when they are trained depends
        on the number of workers, on which no decision may.
        """
        if not self.budget.in_steps:
            return self.budget.amount - self.seconds
        search = [unit for unit in units.values() if unit["kind"] != "baseline"]
        trained = sum(float(unit.get("steps", 0)) for unit in search)
        tried = sum("steps" not in unit for unit in search)
        spent = (
            trained
            + tried * CostModel.in_steps(self.settings).explored
            + self.first.baselines * self.first.max_steps
        )
        return self.budget.amount - spent

    def again(self, when: str, units: _Units, n_rays: int | None = None) -> SearchPlan:
        """Plan for what is left, say what has changed, and keep it: a later run decides the same."""
        before = self.plan
        if when not in self.decisions:
            self._decide(units, n_rays)
            self.decisions[when] = agree({"plan": asdict(self.plan), "n_rays": self.frame.n_rays})
            self.save()
        decided = self.decisions[when]
        self.plan = SearchPlan(**decided["plan"])
        self.frame = replace(self.frame, n_rays=decided["n_rays"])
        changes = [
            f"{name} {getattr(before, part)} -> {getattr(self.plan, part)}"
            for part, name in _PARTS.items()
            if getattr(before, part) != getattr(self.plan, part)
        ]
        if changes:
            self.say(f"plan: {', '.join(changes)}")
        return self.plan

    @property
    def steps(self) -> int:
        """Optimizer steps of the plan."""
        return round(planned_cost(self.plan, self.frame, CostModel(1.0, 0.0, 0.0, 0.0)))

    def rays(self, units: Sequence[Unit]) -> list[Unit]:
        """The subproblems that are begun, spread evenly where they are not all."""
        count = min(self.frame.n_rays or len(units), len(units))
        places = [round((i + 0.5) * len(units) / count - 0.5) for i in range(count)]
        return [units[place] for place in places]

    def baselines(self, units: Sequence[Unit], twin: Callable[[Unit], str | None]) -> list[Unit]:
        """`plain` and the baselines nearest to the warm start's weights, as planned; twins are free."""
        order = [0.0, *self._asked.ranked]

        def rank(unit: Unit) -> int:
            return order.index(max(unit.method["init_args"]["auxiliary"]))

        costly = sorted((unit for unit in units if twin(unit) is None), key=rank)
        kept = {unit.name for unit in costly[: self.first.baselines]}
        return [unit for unit in units if unit.name in kept or twin(unit) is not None]

    def affords(self, units: _Units, unit: Unit) -> bool:
        """Whether a baseline that is about to start still fits; in steps, all that are planned do."""
        if self.budget.in_steps:
            return True
        return agree(self.left(units) >= self.model.unit + self.model.step * unit.steps)

    def lines(self) -> list[str]:
        """What the search will do, in words."""
        plan, frame = self.first, self._asked
        weights = frame.weights(plan.n_weights)
        rays = frame.rays(plan.n_weights)
        counts = rung_counts(rays, plan.finishers)
        whole = "as asked" if plan.max_steps == frame.max_steps else f"instead of {frame.max_steps}"
        return [
            f"Budget {self.budget.text(self.budget.amount)}, planned {self.budget.text(plan.cost)}:",
            f"  trainings of {plan.max_steps} steps ({whole}),",
            f"  anchors at weights {', '.join(f'{weight:g}' for weight in weights)}"
            f" (of {len(frame.settings.auxiliary_weights)}),",
            f"  {counts[0]} rays for a third of their steps, {counts[1]} for two, {counts[2]} to the end,",
            f"  {plan.refined} more inside the region, {plan.explored} averages and {plan.tangents} tangents"
            " at most,",
            f"  {plan.baselines} baselines from scratch (of {frame.baselines}).",
        ]

    def spent_line(self, units: _Units) -> str:
        """What the search has taken of its budget."""
        budget = self.budget
        baselines = sum(float(unit.get("steps", 0)) for unit in units.values() if unit["kind"] == "baseline")
        unspent = (
            self.left(units) + (self.first.baselines * self.first.max_steps - baselines) * budget.in_steps
        )
        taken = budget.text(budget.amount - unspent)
        return (
            f"Budget {budget.text(budget.amount)}, taken {taken}, averages counted by their forward passes."
        )

    @first_only
    def save(self) -> None:
        """Keep plan and time for a later run of the same search."""
        if self.path is None:
            return
        content = {
            "budget": asdict(self.budget),
            "first": asdict(self.first),
            "decisions": self.decisions,
            "model": asdict(self.model),
            "seconds": self.seconds,
        }
        write_json(self.path, content, _FORMAT)

    def _decide(self, units: _Units, n_rays: int | None) -> None:
        settings = replace(self.settings, baselines=False) if self.budget.in_steps else self.settings
        self.frame = replace(self.frame, settings=settings, n_rays=n_rays or self.frame.n_rays)
        self._follow_pace(units)
        self.plan = self._refitted(units)
        while n_rays is not None and n_rays > 1 and self.plan.cost > self.left(units):
            n_rays -= 1
            self.frame = replace(self.frame, n_rays=n_rays)
            self.plan = self._refitted(units)

    def _refitted(self, units: _Units) -> SearchPlan:
        plan = refit(self.plan, self.frame, self.left(units), self.model, Done.of(units))
        return replace(plan, baselines=self.first.baselines) if self.budget.in_steps else plan

    def _follow_pace(self, units: _Units) -> None:
        if self.budget.in_steps:
            return
        trained = [unit for unit in units.values() if unit.get("steps") and unit.get("seconds")]
        steps = sum(float(unit["steps"]) for unit in trained)
        if steps:
            took = [float(unit["seconds"]) for unit in trained]
            pace = sum(max(seconds - self.model.unit, seconds / 2) for seconds in took) / steps
            n_tasks = self.frame.n_auxiliary + 1
            self.model = CostModel.in_seconds(self.frame.settings, pace, self.model.unit, n_tasks)


_PARTS = {
    "n_weights": "auxiliary weights",
    "explored": "averages",
    "baselines": "baselines",
    "refined": "rays inside the region",
    "tangents": "tangents",
    "finishers": "rays trained to their end",
}


def read_budget_report(folder: Path) -> dict[str, Any] | None:
    """The budget of a search and what was planned for it, at first and later; None without a budget."""
    path = _budget_file(folder)
    if not path.is_file():
        return None
    kept = _read_plan(path)
    return {"asked": kept["budget"]["typed"], "first": kept["first"], "later": kept["decisions"]}


def _budget_file(folder: Path) -> Path:
    return folder / "budget.json"


def _read_plan(path: Path) -> dict[str, Any]:
    return read_json(path, _FORMAT, f"the plan of a budget `{path}`")
