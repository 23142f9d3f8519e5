"""What a search does with its budget: how long it trains, and how much of everything it makes.

Plans are the levels of one ladder: each has at least as much of everything as the one below. The plan of a
budget is the highest level that it pays for; so more budget never gives less of anything. From the bottom:

1. two anchors and the ray between them, with trainings of 10 steps up to half of `max_steps`;
2. averages, then the other anchors with their rays, then `plain` and the other baselines;
3. longer trainings, up to `max_steps` and never beyond;
4. rays between the candidates of the preference region, as many as there were rays in the first place;
5. tangents;
6. more rays that are trained to their end, instead of the best quarter.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psst.search.budgets.budget import Budget, CostModel
from psst.search.settings import SearchSettings

_SHORTEST = 10
_SHARES = (1 / 3, 2 / 3, 1.0)
"""Of a subproblem's steps, after which the better half goes on."""


@dataclass(frozen=True)
class Frame:
    """What the user has asked for: the most that a plan may contain."""

    settings: SearchSettings  # of the search
    max_steps: int  # T
    n_auxiliary: int  # auxiliary tasks, m - 1
    n_rays: int | None = None  # between all anchors, once known; one a gap until then

    @property
    def axes(self) -> int:
        """Directions in which anchors lie: each auxiliary task alone, and all of them together."""
        return self.n_auxiliary + (self.n_auxiliary > 1)

    @property
    def ranked(self) -> list[float]:
        """The auxiliary weights but 0, those nearest to that of the warm start first."""
        start = self.settings.warm_weight

        def away(weight: float) -> float:
            return abs(math.log(weight / start)) if start > 0 else weight

        return sorted(self.settings.auxiliary_weights[1:], key=away)

    def weights(self, count: int) -> tuple[float, ...]:
        """The `count` weights of a plan in their order: 0 and the first of `ranked`."""
        return (0.0, *sorted(self.ranked[: count - 1]))

    def anchors(self, count: int) -> int:
        """Anchors at `count` weights."""
        return 1 + self.axes * (count - 1)

    def rays(self, count: int) -> int:
        """Rays between the anchors at `count` weights."""
        between = self.axes * (count - 1)
        if self.n_rays is None:
            return between
        # between some of the anchors there are no more than between all of them
        return self.n_rays if count == len(self.settings.auxiliary_weights) else min(self.n_rays, between)

    @property
    def baselines(self) -> int:
        """The most baselines that cost something: one trained like the warm start is an anchor already."""
        if not self.settings.baselines:
            return 0
        weights = self.settings.auxiliary_weights
        return self.anchors(len(weights)) - (self.settings.warm_weight in weights[1:])


@dataclass(frozen=True)
class SearchPlan:
    """A level of the ladder."""

    max_steps: int  # T, of each candidate and baseline
    n_weights: int  # auxiliary weights of the anchors, 0 included
    explored: int = 0  # averages that are tried at most
    baselines: int = 0  # from scratch, the free one not counted
    refined: int = 0  # rays between candidates of the region
    tangents: int = 0  # points predicted along the front
    finishers: int = 1  # rays trained to their end
    cost: float = 0.0  # of all of it, in the budget's currency


@dataclass(frozen=True)
class Done:
    """What has been trained already, which costs nothing more."""

    warm: bool = False  # whether the warm start has
    anchors: int = 0  # how many of them
    rungs: tuple[int, int, int] = (0, 0, 0)  # rays trained up to each of the three rungs
    refined: int = 0  # how many rays inside the region
    tangents: int = 0  # tried
    explored: int = 0  # averages that were tried
    baselines: int = 0  # from scratch

    @classmethod
    def of(cls, units: Mapping[str, Mapping[str, Any]]) -> "Done":
        """Count what the manifest holds."""
        kinds = [str(unit["kind"]) for unit in units.values()]
        legs = [
            unit.get("rungs", (0, 1, 2)) for unit in units.values() if unit["kind"] in ("rung", "subproblem")
        ]
        one, two, three = (sum(rung in leg for leg in legs) for rung in range(3))
        ways = [str(unit["way"]) for unit in units.values() if "way" in unit]
        costly = [unit for unit in units.values() if unit["kind"] == "baseline" and unit.get("steps")]
        return cls(
            warm="warm" in kinds,
            anchors=kinds.count("anchor"),
            rungs=(one, two, three),
            refined=kinds.count("refined"),
            tangents=ways.count("tangent"),
            explored=kinds.count("explored") - len(ways),
            baselines=len(costly),
        )


_NOTHING = Done()


def rung_steps(max_steps: int, warm_steps: int) -> tuple[int, int, int]:
    """Last optimizer step of each rung."""
    span = max_steps - warm_steps
    one, two, three = (warm_steps + math.ceil(share * span) for share in _SHARES)
    return one, two, three


def rung_counts(rays: int, finishers: int) -> tuple[int, int, int]:
    """How many rays are trained up to each rung; the better half goes on, and more if more are to finish."""
    finishers = min(max(finishers, math.ceil(rays / 4)), rays)
    return rays, max(math.ceil(rays / 2), finishers), finishers


def planned_cost(plan: SearchPlan, frame: Frame, model: CostModel, done: Done = _NOTHING) -> float:
    """Cost of what a plan has beyond what is done."""
    warm = round(frame.settings.warm_fraction * plan.max_steps)
    branch = model.unit + model.step * (plan.max_steps - warm)
    cost = 0.0 if done.warm else model.unit + model.step * warm
    cost += max(frame.anchors(plan.n_weights) - done.anchors, 0) * branch
    before = warm
    counts = rung_counts(frame.rays(plan.n_weights), plan.finishers)
    for last, count, trained in zip(rung_steps(plan.max_steps, warm), counts, done.rungs, strict=True):
        cost += max(count - trained, 0) * (model.unit + model.step * (last - before))
        before = last
    cost += max(plan.refined - done.refined, 0) * branch
    cost += max(plan.tangents - done.tangents, 0) * model.tangent
    cost += max(plan.explored - done.explored, 0) * model.explored
    cost += max(plan.baselines - done.baselines, 0) * (model.unit + model.step * plan.max_steps)
    return cost + (1 + min(plan.baselines, 2)) * model.test


def fit_schedule(frame: Frame, budget: Budget, model: CostModel) -> SearchPlan:
    """Return the highest level of the ladder that the budget pays for.

    Raises:
        ValueError: It does not pay for the lowest.
    """
    amount = budget.amount
    shortest = min(_SHORTEST, frame.max_steps)
    half = max(frame.max_steps // 2, shortest)
    parts = list(_compositions(frame))
    lowest = _costed(replace(parts[0], max_steps=shortest), frame, model)
    if lowest.cost > amount:
        raise ValueError(
            f"`{budget.typed}` does not pay for the least search, which takes {budget.text(lowest.cost)}: "
            f"two weights of anchors and the rays between them, trained for {shortest} steps; give it more."
        )
    best = _longest(parts[0], shortest, half, frame, amount, model)
    if best.max_steps < half:
        return best
    levels = [replace(part, max_steps=half) for part in parts]
    if planned_cost(levels[-1], frame, model) > amount:
        return _highest(levels, frame, amount, model) or best
    best = _longest(parts[-1], half, frame.max_steps, frame, amount, model)
    if best.max_steps < frame.max_steps:
        return best
    return _highest([best, *_extras(best, frame)], frame, amount, model) or best


def refit(plan: SearchPlan, frame: Frame, left: float, model: CostModel, done: Done) -> SearchPlan:
    """Plan again for what is left of the budget, after some units; the length of the trainings is settled.

    What is done is not taken back. If not even the rest of the lowest level can be paid, it is returned: a
    search ends with a choice.
    """
    parts = [part for part in _compositions(frame) if frame.anchors(part.n_weights) >= done.anchors]
    ladder = [replace(part, max_steps=plan.max_steps) for part in parts]
    ladder += list(_extras(ladder[-1], frame))
    return _highest(ladder, frame, left, model, done) or _costed(ladder[0], frame, model, done)


def _compositions(frame: Frame) -> Iterator[SearchPlan]:
    """What is made at the second stage, from little to everything; the length is yet to be set."""
    settings = frame.settings
    plan = SearchPlan(0, 2)
    yield plan
    for explored in range(1, settings.max_explored + 1):
        plan = replace(plan, explored=explored)
        yield plan
    for n_weights in range(3, len(settings.auxiliary_weights) + 1):
        plan = replace(plan, n_weights=n_weights)
        yield plan
    for baselines in range(1, frame.baselines + 1):
        plan = replace(plan, baselines=baselines)
        yield plan


def _extras(plan: SearchPlan, frame: Frame) -> Iterator[SearchPlan]:
    """What is made beyond: rays inside the region, tangents, then more rays to their end."""
    rays = frame.rays(plan.n_weights)
    for refined in range(1, rays + 1):
        plan = replace(plan, refined=refined)
        yield plan
    for tangents in range(1, frame.settings.max_tangents + 1):
        plan = replace(plan, tangents=tangents)
        yield plan
    for finishers in range(rung_counts(rays, 1)[2] + 1, rays + 1):
        plan = replace(plan, finishers=finishers)
        yield plan


def _costed(plan: SearchPlan, frame: Frame, model: CostModel, done: Done = _NOTHING) -> SearchPlan:
    finishers = rung_counts(frame.rays(plan.n_weights), plan.finishers)[2]
    return replace(plan, finishers=finishers, cost=planned_cost(plan, frame, model, done))


def _highest(
    ladder: Sequence[SearchPlan], frame: Frame, amount: float, model: CostModel, done: Done = _NOTHING
) -> SearchPlan | None:
    """The last level before the first that cannot be paid; None if that is the lowest."""
    best = None
    for plan in ladder:
        costed = _costed(plan, frame, model, done)
        if costed.cost > amount:
            break
        best = costed
    return best


def _longest(
    part: SearchPlan, low: int, high: int, frame: Frame, amount: float, model: CostModel
) -> SearchPlan:
    """The most steps between two bounds that can be paid; the lower one can."""
    while low < high:
        middle = (low + high + 1) // 2
        if planned_cost(replace(part, max_steps=middle), frame, model) <= amount:
            low = middle
        else:
            high = middle - 1
    return _costed(replace(part, max_steps=low), frame, model)
