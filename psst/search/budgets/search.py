"""A search with a budget: measure the pace, plan, and cut the run down to the plan."""

import time
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from psst.search.budgets.budget import Budget, CostModel
from psst.search.budgets.pacer import Pacer
from psst.search.budgets.plan import Frame
from psst.search.episode_judge import EpisodeJudge
from psst.search.protocols import Judge, Run
from psst.search.record import Manifest
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.units import Schedule, Unit
from psst.training.experiment import Experiment

_PROBE_STEPS = 24
_FIRST = 4
"""Steps of the probe that do not count: what is only done once."""


class _Clock(Callback):
    """Notes when each optimizer step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._step = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the time, once a step."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self.times.append(time.monotonic())

    @property
    def pace(self) -> float | None:
        """Seconds of a step, the median; None below two."""
        gaps = [after - before for before, after in pairwise(self.times)]
        return median(gaps[_FIRST:] or gaps) if gaps else None


def _measure_pace(run: Run, judge: Judge, settings: SearchSettings) -> tuple[CostModel, float]:
    """Train a few steps and validate once, in a temporary folder; nothing of it is kept.

    Returns:
        Seconds of a step, the median, and of a unit beside its steps; and the seconds that this took.
    """
    began, clock = time.monotonic(), _Clock()
    names = judge.task_names()
    schedule = Schedule(settings, run.max_steps, names[1:])
    steps = min(_PROBE_STEPS, run.max_steps)
    with TemporaryDirectory() as folder:
        runner = UnitRunner(run, Path(folder), judge, watching=[clock])
        runner.train(Unit("probe", "warm", schedule.warm.method, 0, steps))
    took = time.monotonic() - began
    pace = clock.pace or took
    return CostModel.in_seconds(settings, pace, max(took - steps * pace, 0.0), len(names)), took


def make_pacer(
    run: Run, judge: Judge, settings: SearchSettings, budget: Budget, folder: Path, say: Callable[[str], None]
) -> Pacer:
    """Plan a search within a budget, or go on with the plan of the one in `folder`.

    Raises:
        ValueError: The budget does not pay for the least search, or the folder holds another one.
    """
    names = judge.task_names()
    Schedule(settings, run.max_steps, names[1:])  # complains where nothing can be searched

    def measure() -> tuple[CostModel, float]:
        if budget.in_steps:
            return CostModel.in_steps(settings, len(names)), 0.0
        judge.check(False)
        model, seconds = _measure_pace(run, judge, settings)
        say(f"Measured: {model.step:.4f} s a step, {model.unit:.1f} s more a unit.")
        return model, seconds

    frame = Frame(settings, run.max_steps, len(names) - 1)
    pacer = Pacer.open(frame, budget, folder, measure, say, Manifest.has_units(folder))
    for line in pacer.lines():
        say(line)
    return pacer


def budgeted_experiment(
    experiment: Experiment,
    budget: Budget,
    folder: Path,
    say: Callable[[str], None] = print,
) -> tuple[Experiment, Pacer]:
    """Plan a configured search within a budget, and return the run that the plan leaves of it."""
    settings: SearchSettings = experiment.settings()
    pacer = make_pacer(
        experiment, EpisodeJudge(experiment, settings.selection), settings, budget, folder, say
    )
    planned = {part.name: getattr(pacer.settings, part.name) for part in fields(settings)}
    changed: dict[str, object] = {
        f"search.{name}": list(value) if isinstance(value, tuple) else value
        for name, value in planned.items()
        if value != getattr(settings, name)
    }
    if pacer.first.max_steps != experiment.max_steps:
        changed["trainer.max_steps"] = pacer.first.max_steps
    return (experiment.with_overrides(changed) if changed else experiment), pacer
