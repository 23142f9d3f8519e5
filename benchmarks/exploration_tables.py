"""The tables of `exploration.py`: what sets of points add to a search, per seed and over seeds."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.evaluation import t_interval
from psst.search.reports.front import FrontScale, hypervolume
from psst.search.result import Candidate
from psst.search.settings import SearchSettings

ANEW = "subproblems anew"
SETS = (
    "averages",
    "tangents",
    "tangents, gate open",
    "neighboring rays",
    "neighboring rays, fixed weights",
    "best one continued",
    ANEW,
)


@dataclass
class Explored:
    """One search and what was found around the best of its trained candidates.

    Attributes:
        name: Of the search.
        stop: T.
        base: Its anchors and subproblems.
        best: The one that is best on validation.
        beside: Names of its neighbors.
        found: Results by name, each with its ``set``.
    """

    name: str
    stop: int
    base: list[Candidate]
    best: Candidate
    beside: list[str]
    found: Mapping[str, Mapping[str, Any]]

    @property
    def scale(self) -> FrontScale:
        """Of the anchors."""
        return FrontScale.of(matrix([dict(one.losses) for one in self.base if one.kind == "anchor"]))


@dataclass
class Row:
    """What one set adds to one search; hypervolume in units of the anchors' ranges."""

    tried: int
    kept: int
    volume: float
    gain: float
    best: float
    best_with_base: float
    steps: float
    seconds: float


def row(explored: Explored, kind: str) -> Row | None:
    """Measure a set; None if nothing of it has been tried."""
    tried = [result for result in explored.found.values() if result["set"] == kind]
    if not tried:
        return None
    kept = [result for result in tried if result.get("accepted", True) and "accuracy" in result]
    known = matrix([one.losses for one in explored.base])
    points = np.concatenate([known, *(matrix([result["losses"]]) for result in kept)])
    before, after = hypervolume(known, explored.scale), hypervolume(points, explored.scale)
    accuracies = [result["accuracy"] for result in kept]
    return Row(
        len(tried),
        len(kept),
        after,
        after - before,
        max(accuracies, default=math.nan),
        max([explored.best.metric, *accuracies]),
        sum(result["steps"] for result in tried),
        sum(result["wall"] for result in tried),
    )


def report(all_explored: list[Explored]) -> None:
    """A table a search, differences over the searches, and why tangents were skipped."""
    for explored in all_explored:
        report_search(explored)
    report_differences(all_explored)
    report_points(all_explored)


def report_search(explored: Explored) -> None:
    """One search."""
    best, scale = explored.best, explored.scale
    point = ", ".join(f"{value:.4f}" for value in scale.reference)
    print(
        f"\n{explored.name}: T = {explored.stop}, {best.name} beside {', '.join(explored.beside)}; ", end=""
    )
    print(f"reference point ({', '.join(best.losses)}) = ({point})\n")
    print("| set | kept / tried | hypervolume | gain | best accuracy, % | with base, % | steps | s |")
    print("|---|---|---|---|---|---|---|---|")
    volume = hypervolume(matrix([one.losses for one in explored.base]), scale)
    print(f"| base | {len(explored.base)} | {volume:.4f} | | {100 * best.metric:.2f} | | | |")
    for kind in SETS:
        found = row(explored, kind)
        if found is not None:
            accuracy = f"{100 * found.best:.2f}" if found.kept else "-"
            print(
                f"| {kind} | {found.kept} / {found.tried} | {found.volume:.4f} | {found.gain:+.4f} | "
                f"{accuracy} | {100 * found.best_with_base:.2f} | {found.steps:.0f} | {found.seconds:.0f} |"
            )


def report_differences(all_explored: list[Explored]) -> None:
    """Each set minus the subproblems trained anew, paired by seed; mean and 95 % t-interval."""
    measures: list[Callable[[Row], float]] = [
        lambda found: found.gain,
        lambda found: 100 * found.best,
        lambda found: 100 * found.best_with_base,
    ]
    print(
        "\n| set minus subproblems anew | gain of hypervolume | best accuracy, points | with base, points |"
    )
    print("|---|---|---|---|")
    anew = [row(explored, ANEW) for explored in all_explored]
    for kind in SETS:
        rows = [row(explored, kind) for explored in all_explored]
        pairs = [(one, other) for one, other in zip(rows, anew, strict=True) if one and other]
        if kind != ANEW and pairs:
            cells = [difference([of(one) - of(other) for one, other in pairs]) for of in measures]
            print(f"| {kind} | {' | '.join(cells)} |")


def difference(values: list[float]) -> str:
    """One value a seed, their mean and its interval; nothing of sets in which no point was kept."""
    values = [value for value in values if math.isfinite(value)]
    each = ", ".join(f"{value:+.3f}" for value in values) or "-"
    if len(values) < 2:
        return each
    mean, half = t_interval(values)
    return f"{each}; {mean:+.3f} ± {half:.3f}"


def report_points(all_explored: list[Explored]) -> None:
    """Every point, and what the gates said of tangents."""
    print("\n| search | point | losses | accuracy, % | steps | s | |\n|---|---|---|---|---|---|---|")
    for explored in all_explored:
        for name, result in explored.found.items():
            losses = ", ".join(f"{value:.4f}" for value in result.get("losses", {}).values())
            accuracy = f"{100 * result['accuracy']:.2f}" if "accuracy" in result else ""
            dropped = "" if result.get("accepted", True) else "above its chord"
            said = result.get("skipped") or dropped
            cost = f"{result['steps']:.0f} | {result['wall']:.0f}"
            print(f"| {explored.name} | {name} | {losses} | {accuracy} | {cost} | {said} |")


def report_cost(name: str, units: Mapping[str, Mapping[str, Any]]) -> None:
    """What a search itself cost, by kind of unit, as its manifest says; averages are not timed there."""
    full = units["warm"]["steps"] / SearchSettings().warm_fraction
    print(f"\n{name}:\n\n| kind | units | steps | in T | s |\n|---|---|---|---|---|")
    for kind in ("warm", "anchor", "subproblem", "baseline"):
        found = [unit for unit in units.values() if unit["kind"] == kind]
        steps, seconds = (sum(unit[key] for unit in found) for key in ("steps", "seconds"))
        print(f"| {kind} | {len(found)} | {steps} | {steps / full:.2f} | {seconds:.0f} |")


def matrix(losses: list[dict[str, float]]) -> NDArray[np.float64]:
    """``[n, m]``."""
    return np.array([list(one.values()) for one in losses])
