"""What a search would train, in which order, and what it would cost; nothing is run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from psst.pareto import RaySet
from psst.search.episode_judge import EpisodeJudge
from psst.search.record import Manifest
from psst.search.settings import SearchSettings
from psst.search.units import Schedule, Unit
from psst.training.experiment import Experiment


@dataclass(frozen=True)
class _Planned:
    """One line of a plan."""

    name: str
    after: str
    steps: int = 0
    finished: bool = False
    note: str = ""


def plan(
    schedule: Schedule, settings: SearchSettings, units: Mapping[str, Any], n_rays: int | None
) -> list[_Planned]:
    """Lay out a search."""

    def line(unit: Unit, after: str, note: str = "") -> _Planned:
        return _Planned(unit.name, after, unit.steps, unit.name in units, note)

    expected = len(schedule.anchor_pairs) if n_rays is None else n_rays
    guess = "one a pair of neighboring anchors" if n_rays is None else ""
    lines = [line(schedule.warm, "nothing")]
    lines += [line(unit, "warm") for unit in schedule.anchors]
    lines += [line(unit, "anchors", guess) for unit in schedule.subproblems("rays.npz", expected)]
    if settings.max_explored:
        mixes = f"at most {settings.max_explored} averages"
        lines.append(_Planned(mixes, "anchors, subproblems", note="no training"))
    for unit in schedule.baselines:
        if twin := schedule.twin(unit):
            lines.append(_Planned(unit.name, twin, 0, unit.name in units, f"the same as {twin}"))
        else:
            lines.append(line(unit, "nothing", "when a worker is idle"))
    tested = "best and 2 baselines" if settings.baselines else "best"
    return [*lines, _Planned(f"test of {tested}", "all")]


def summary(lines: list[_Planned], max_steps: int, pace: float | None, workers: int = 1) -> str:
    """Cost of a plan and of what is left of it; in minutes if the seconds of a step are known."""
    total = sum(line.steps for line in lines)
    left = sum(line.steps for line in lines if not line.finished)
    told = f"{total} steps, {total / max_steps:.2f} T; {left} steps, {left / max_steps:.2f} T, are left\n"
    if pace is None:
        return f"{told}The time is known once a unit is finished."
    minutes = math.ceil(left * pace / 60)
    beside = f", at best {math.ceil(minutes / workers)} with {workers} workers" if workers > 1 else ""
    return f"{told}about {minutes} min at {pace:.3f} s a step{beside}"


def print_plan(experiment: Experiment, settings: SearchSettings, output: Path, workers: int = 1) -> None:
    """Print what `psst search` would do.

    Raises:
        ValueError: As the search itself would, where nothing has to be built for it.
    """
    names = EpisodeJudge(experiment).task_names()
    schedule = Schedule(settings, experiment.max_steps, names[1:])
    units: Mapping[str, Any] = {}
    if Manifest.has_units(output):
        units = Manifest(output, experiment.yaml()).units
    rays = output / "rays.npz"
    done = all(unit.name in units for unit in schedule.anchors)
    n_rays = len(RaySet.load(rays).priors) if done and rays.is_file() else None
    trained = [unit for unit in units.values() if unit.get("steps") and unit.get("seconds")]
    pace = sum(u["seconds"] for u in trained) / sum(u["steps"] for u in trained) if trained else None
    lines = plan(schedule, settings, units, n_rays)
    counts = (Column(name, justify="right") for name in ("steps", "T"))
    table = Table("unit", "after", *counts, "", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        cost = (str(line.steps), f"{line.steps / schedule.max_steps:.2f}") if line.steps else ("", "")
        table.add_row(line.name, line.after, *cost, "finished" if line.finished else line.note)
    console = Console(width=max(Console().width, 110), highlight=False)
    console.print(table, summary(lines, schedule.max_steps, pace, workers))
