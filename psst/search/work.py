"""Pieces of a search that any process can do: a training, an average, a test."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from psst.search.explore import Mix, average, chord_check, scaled_chord
from psst.search.progress import Report
from psst.search.protocols import Judge, Run
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Unit


class Workshop:
    """What a process needs for the work of one search.

    Example:
        >>> training(schedule.warm).do(Workshop(run, judge, settings, folder))["kind"]
        'warm'
    """

    def __init__(
        self, run: Run, judge: Judge, settings: SearchSettings, folder: Path, report: Report | None = None
    ) -> None:
        self.judge = judge
        self.settings = settings
        self.max_steps = run.max_steps
        self.runner = UnitRunner(run, folder, judge, report, settings.checkpoint_every)


@dataclass(frozen=True)
class Work:
    """One piece; it can be sent to another process."""

    name: str  # of the unit
    do: Callable[[Workshop], dict[str, Any]]  # leaves files, returns plain values for the manifest
    steps: tuple[int, int] = (0, 0)  # first and last optimizer step; equal where nothing is trained
    noted: bool = True  # whether the manifest keeps the result


def training(unit: Unit, keep: tuple[int, ...] = ()) -> Work:
    """Train and validate a unit, from where it was left or from its start; see `UnitRunner.train`."""
    return Work(unit.name, partial(_train, unit=unit, keep=keep), (unit.start, unit.stop))


def testing(name: str) -> Work:
    """Test a finished unit, and leave the result in its folder."""
    return Work(name, partial(_test, name=name), noted=False)


def mixing(mix: Mix, known: tuple[tuple[float, ...], ...]) -> Work:
    """Average finished units; validate what lies at or below the chord."""
    return Work(mix.name, partial(_mix, mix=mix, known=known))


def _train(workshop: Workshop, unit: Unit, keep: tuple[int, ...]) -> dict[str, Any]:
    return workshop.runner.train(unit, keep=keep)


def _test(workshop: Workshop, name: str) -> dict[str, Any]:
    workshop.runner.test(name)
    return {}


def _mix(workshop: Workshop, mix: Mix, known: tuple[tuple[float, ...], ...]) -> dict[str, Any]:
    judge, runner, settings = workshop.judge, workshop.runner, workshop.settings
    names, fresh = judge.task_names(), workshop.max_steps  # training has seen the batches before
    states = {parent: runner.state(parent) for parent in mix.parents}
    averaged = average(list(states.values()), mix.shares)
    mixed = judge.recalibrated(averaged, fresh, settings.recalibration_batches)
    start = fresh + settings.recalibration_batches
    losses = judge.fresh_losses({**states, mix.name: mixed}, start, settings.check_batches)
    ends = [losses[parent] for parent in mix.parents]
    check = chord_check(losses[mix.name], ends, mix.shares)
    result: dict[str, Any] = {
        "kind": "explored",
        "parents": dict(zip(mix.parents, mix.shares, strict=True)),
        "accepted": check.accepted,
        "chord_excess": dict(zip(names, check.excess.tolist(), strict=True)),
    }
    if not check.accepted:
        return result
    result |= runner.adopt(mix.name, mixed, mix.parents[0])
    if "losses" not in result:  # never trained, so it has no running means of its own
        carried = scaled_chord(np.array(known), mix.shares, losses[mix.name], ends)
        result["losses"] = dict(zip(names, carried.tolist(), strict=True))
    return result
