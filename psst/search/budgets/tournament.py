"""Successive halving over subproblems: all train a third of their steps, then the better half goes on.

Each leg is a unit of its own that continues from the checkpoint of the one before: no step is trained twice,
and a subproblem that reaches its end is the one that would have been trained in one go.

References:
    Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS
    2016. Departure: three rungs of equal length, since the schedule of the learning rate is made for T steps
    and rankings in its first part say little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from psst.pareto import Trajectory
from psst.search.budgets.plan import rung_counts, rung_steps
from psst.search.units import Unit
from psst.search.work import Work, Workshop


@dataclass(frozen=True)
class _Leg:
    """A part of a subproblem."""

    unit: Unit  # to be trained
    source: str | None  # the leg before; None goes on from the warm start
    rungs: tuple[int, ...]  # those that it reaches, from 0

    def work(self) -> Work:
        """Train, validate, and join the trajectory to that of the leg before."""
        return Work(self.unit.name, partial(_train_leg, leg=self), (self.unit.start, self.unit.stop))


class Tournament:
    """Which legs are trained, and who goes on; `finishers` end, if that is more than a quarter."""

    def __init__(self, units: Sequence[Unit], finishers: int) -> None:
        self.units = list(units)
        stops = rung_steps(units[0].stop, units[0].start)
        counts = rung_counts(len(units), finishers)
        self.stages: list[tuple[int, int, tuple[int, ...]]] = []
        reached: tuple[int, ...] = ()
        for rung, (stop, count) in enumerate(zip(stops, counts, strict=True)):
            reached = (*reached, rung)
            following = counts[rung + 1] if rung + 1 < len(counts) else 0
            if following < count:  # somebody drops out here, or all are at their end
                self.stages.append((stop, count, reached))
                reached = ()

    def __len__(self) -> int:
        return len(self.stages)

    def legs(self, stage: int, alive: Sequence[Unit]) -> list[_Leg]:
        """The legs of those that are still in."""
        stop, _, rungs = self.stages[stage]
        last = stage == len(self.stages) - 1
        legs = []
        for unit in alive:
            source = self.leg_name(stage - 1, unit) if stage else None
            start = self.stages[stage - 1][0] if stage else unit.start
            name, kind = self.leg_name(stage, unit), unit.kind if last else "rung"
            legs.append(_Leg(replace(unit, name=name, kind=kind, start=start, stop=stop), source, rungs))
        return legs

    def survivors(self, stage: int, alive: Sequence[Unit], quality: Callable[[str], float]) -> list[Unit]:
        """Those that go on after a stage, in their old order: the best by the quality of their legs."""
        count = self.stages[stage + 1][1]
        ranked = sorted(range(len(alive)), key=lambda i: (-quality(self.leg_name(stage, alive[i])), i))
        return [alive[i] for i in sorted(ranked[:count])]

    def leg_name(self, stage: int, unit: Unit) -> str:
        """Name of a unit's leg; the last one has the unit's own."""
        return unit.name if stage == len(self.stages) - 1 else f"{unit.name}.{stage + 1}"


def _train_leg(workshop: Workshop, leg: _Leg) -> dict[str, Any]:
    runner = workshop.runner
    start = None if leg.source is None else runner.checkpoint(leg.source)
    result = runner.train(leg.unit, start) | {"rungs": list(leg.rungs)}
    if leg.source is not None:
        before, here = (runner.unit_folder(name) / "trajectory.npz" for name in (leg.source, leg.unit.name))
        weights = _join_files(before, here, leg.unit.start)
        result["weights"] = dict(zip(workshop.judge.task_names(), weights, strict=True))
    return result


def _join_files(before: Path, here: Path, start: int) -> list[float]:
    """Put the trajectory of the leg before in front of this one, once; return the mean weights of both."""
    trajectory = Trajectory.load(here)
    if trajectory.first_step == start:
        trajectory = joined(Trajectory.load(before), trajectory)
        trajectory.save(here)
    weights: list[float] = trajectory.weights.tolist()
    return weights


def joined(first: Trajectory, second: Trajectory) -> Trajectory:
    """Two trajectories, one behind the other, with the mean of their weights."""
    points = np.concatenate([first.log_losses, second.log_losses])
    lengths = np.array([len(first.log_losses), len(second.log_losses)])
    weights = lengths @ np.stack([first.weights, second.weights]) / lengths.sum()
    return Trajectory(points, first.first_step, weights)
