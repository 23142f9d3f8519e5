"""Pieces of a search that any process can do: a training, an average, a test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from psst.search.explore import Mix, average, chord_check, scaled_chord
from psst.search.progress import Report
from psst.search.protocols import Judge, Run
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Unit


class Workshop:
    """What a process needs for the work of one search.

    Args:
        run: Gives fresh parts for each unit.
        judge: Measures their models.
        settings: Of the search.
        folder: Of the search, the same for all processes.
        report: Told how far the unit is that trains.
    """

    def __init__(
        self, run: Run, judge: Judge, settings: SearchSettings, folder: Path, report: Report | None = None
    ) -> None:
        self.judge = judge
        self.settings = settings
        self.max_steps = run.max_steps
        self.runner = UnitRunner(run, folder, judge, report, settings.checkpoint_every)


class Work(Protocol):
    """One piece; plain values, so that it can be sent to another process."""

    @property
    def name(self) -> str:
        """Of the unit."""

    @property
    def steps(self) -> tuple[int, int]:
        """First and last optimizer step; equal where nothing is trained."""

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Leave files in the unit's folder, and return plain values for the manifest."""


@dataclass(frozen=True)
class Training:
    """Train and validate a unit.

    Args:
        unit: To be trained.
        keep: Optimizer steps whose checkpoints are kept.
    """

    unit: Unit
    keep: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of the unit."""
        return self.unit.name

    @property
    def steps(self) -> tuple[int, int]:
        """First and last."""
        return self.unit.start, self.unit.stop

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Go on where the unit was left, or begin."""
        return workshop.runner.train(self.unit, keep=self.keep)


@dataclass(frozen=True)
class Testing:
    """Test a finished unit."""

    name: str
    steps: tuple[int, int] = (0, 0)

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Leave the result in the unit's folder."""
        workshop.runner.test(self.name)
        return {}


@dataclass(frozen=True)
class Mixing:
    """Average finished units; validate what lies at or below the chord.

    Args:
        mix: Which, and their shares.
        known: Losses of each parent as the search knows them, main first.
    """

    mix: Mix
    known: tuple[tuple[float, ...], ...]
    steps: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Of the average."""
        return self.mix.name

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Return ``accepted`` and what validation says, if it is."""
        judge, runner, settings, mix = workshop.judge, workshop.runner, workshop.settings, self.mix
        names, fresh = judge.task_names(), workshop.max_steps  # training has seen the batches before
        states = {parent: runner.state(parent) for parent in mix.parents}
        mixed = judge.recalibrated(
            average(list(states.values()), mix.shares), fresh, settings.recalibration_batches
        )
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
            carried = scaled_chord(np.array(self.known), mix.shares, losses[mix.name], ends)
            result["losses"] = dict(zip(names, carried.tolist(), strict=True))
        return result
