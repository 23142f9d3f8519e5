"""What a straight line of training does best with its passes: trunks, merges on the way, last branches.

    python benchmarks/courses.py signs --seeds 5 -- --config own_network --data.init_args.root signs \
        --data.init_args.groups.pattern '(.*)_' --data.init_args.splits seeded

Every plan takes the same passes in all (a pass is the main batch once through the backbone, forward and
backward): a trunk, whose tasks may change on the way, and last branches on batches of their own, in which
the learning rate falls and whose weights are averaged. Tasks are those of the config; the weight of one
counts in units of the losses' running means. Seed s is the seed of everything; for an ImageFolder it is the
class split's too. Plans share what they have in common; trained models stay in the folder: started again,
the same command goes on.
"""

import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hindsight import accuracy
from which_task import asked, difference

from psst.process import begin_process
from psst.search.episode_judge import EpisodeJudge
from psst.search.mixture import MAIN_ONLY, Mixture, alone, together
from psst.search.record import UnitFolder, unit_path
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.unit import Unit
from psst.training.experiment import Experiment

Trunk = tuple[tuple[float, Mixture], ...]
"""Until which share of all passes, and on what."""


@dataclass(frozen=True)
class Plan:
    """A straight line: `trunk`, then `branches` that divide the rest.

    `look` are branches of `EACH` of all passes where the trunk is at `LOOK`; it goes on from their average
    or, with `own`, from its own weights.
    """

    name: str
    trunk: Trunk
    branches: tuple[Mixture, ...]
    look: tuple[Mixture, ...] = ()
    own: bool = False


LOOK, EACH = 0.35, 0.025


def plans(tasks: Sequence[str]) -> list[Plan]:
    """All plans for these auxiliary tasks."""
    main, every, third = (MAIN_ONLY,) * 3, together(tasks), together(tasks, 0.3)
    singles = [alone(task) for task in tasks]
    usual: Trunk = ((0.7, MAIN_ONLY),)
    found = [
        Plan("main only to 0.7, then 3 x 0.1", usual, main),
        Plan("1 x 0.3", usual, main[:1]),
        Plan("6 x 0.05", usual, main * 2),
        Plan("to 0.8, 2 x 0.1", ((0.7, MAIN_ONLY), (0.8, MAIN_ONLY)), main[:2]),
        Plan("to 0.5, 5 x 0.1", ((0.5, MAIN_ONLY),), (*main, *main[:2])),
        Plan("last: main only, two tasks at 1", usual, (MAIN_ONLY, *singles[-2:])),
        Plan("last: 3 x all at 0.3", usual, (third,) * 3),
        Plan("all at 1, last too", ((0.25, every), (0.7, every)), (every,) * 3),
        Plan("all at 1 to 0.7", ((0.25, every), (0.7, every)), main),
        Plan("all at 0.3 to 0.7", ((0.7, third),), main),
        Plan("all at 1 to 0.25, at 0.3 to 0.5", ((0.25, every), (0.5, third), (0.7, MAIN_ONLY)), main),
        Plan("all at 1 to 0.25", ((0.25, every), (0.7, MAIN_ONLY)), main),
        Plan("look of main only, its average", usual, main, look=main),
        Plan("look of main only, own weights", usual, main, look=main, own=True),
        Plan("look of two tasks, their average", usual, main, look=(MAIN_ONLY, *singles[-2:])),
    ]
    for one in singles:
        name = one.tasks[0]
        small = one.scaled(0.3)
        falling: Trunk = ((0.25, one), (0.5, small), (0.7, MAIN_ONLY))
        found += [
            Plan(f"last: main only, {name} at 0.3 and 1", usual, (MAIN_ONLY, small, one)),
            Plan(f"{name} at 1, last too", ((0.25, one), (0.7, one)), (one,) * 3),
            Plan(f"{name} at 1 to 0.7", ((0.25, one), (0.7, one)), main),
            Plan(f"{name} at 1 to 0.25, at 0.3 to 0.5", falling, main),
            Plan(f"{name} at 1 to 0.25", ((0.25, one), (0.7, MAIN_ONLY)), main),
        ]
    return found


class Line:
    """Makes a plan's units one after the other, those that are there left out."""

    def __init__(self, judge: EpisodeJudge, out: Path, passes: int) -> None:
        self.judge, self.out, self.passes = judge, out, passes
        self.runner = UnitRunner(judge, judge.run.settings(), out)
        self.names = judge.task_names()[1:]

    def make(self, plan: Plan) -> str:
        """Train, average and test it; return the folder's name of what was tested."""
        at, parent = 0.0, Unit("", MAIN_ONLY, 0, 0, 2 * self.passes)
        spent = len(plan.look) * EACH  # the look's passes are taken from the trunk after it
        for stop, mixture in _cut(plan.trunk, LOOK if plan.look else None):
            parent = self._trunk(parent, at, stop - (spent if at == LOOK and plan.look else 0.0), mixture)
            at = stop
            if plan.look and stop == LOOK:
                units = self._branches(parent, plan.look, EACH, batches=50)
                if not plan.own:
                    parent = self._average(units, parent)
        last = self._branches(parent, plan.branches, (1 - at) / len(plan.branches))
        whole = last[0] if len(last) == 1 else self._average(last)
        self._do(Unit(f"test {whole.name}", MAIN_ONLY, 0, 0, 0, parent=whole.name, test=True))
        return whole.name

    def _trunk(self, parent: Unit, at: float, stop: float, mixture: Mixture) -> Unit:
        piece = f"{mixture.name(self.names)} {at:g}-{stop:g}"
        name, end = _joined(parent.name, piece), parent.stop + self._steps(mixture, stop - at)
        return self._do(Unit(name, mixture, parent.stop, end, parent.horizon, parent=parent.name))

    def _branches(
        self, parent: Unit, mixtures: Sequence[Mixture], length: float, batches: int = 100
    ) -> list[Unit]:
        units = []
        for number, mixture in enumerate(mixtures):
            name = _joined(parent.name, f"{number} {mixture.name(self.names)} {length:.4g}")
            stop = parent.stop + self._steps(mixture, length)
            place = (parent.stop, stop, parent.horizon, parent.stop, parent.name)
            units.append(self._do(Unit(name, mixture, *place, batches=batches + number)))
        return units

    def _average(self, members: Sequence[Unit], parent: Unit | None = None) -> Unit:
        names, first = tuple(one.name for one in members), members[0]
        step = (parent or first).stop
        place = (step, step, first.horizon, step, parent.name if parent else "")
        mixtures = "+".join(one.mixture.name(self.names) for one in members)
        name = _joined(first.parent, f"average {mixtures} {first.steps}")
        return self._do(Unit(name, first.mixture, *place, members=names))

    def _steps(self, mixture: Mixture, share: float) -> int:
        return max(1, round(share * self.passes / self.judge.cost(mixture.tasks)))

    def _do(self, unit: Unit) -> Unit:
        unit = replace(unit, key=unit.name)
        if UnitFolder(self.out, unit).result is None:
            self.runner.do(unit)
        return unit


def _cut(trunk: Trunk, where: float | None) -> Trunk:
    """The same trunk with an end of a piece at `where`."""
    if where is None:
        return trunk
    mixture = next(mixture for stop, mixture in trunk if stop > where)
    return tuple(sorted({*trunk, (where, mixture)}, key=lambda piece: piece[0]))


def _joined(parent: str, piece: str) -> str:
    return "-".join(filter(None, [parent, piece])).replace(" ", "_").replace("=", "")


def train(out: Path, passes: int, words: list[str], seed: int) -> tuple[int, dict[str, str]]:
    """All plans of one seed; return the unit that was tested, by plan."""
    begin_process()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    judge = EpisodeJudge(experiment(words, seed))
    judge.check_data(1)
    line, found = Line(judge, out / str(seed), passes), {}
    for plan in plans(line.names):
        found[plan.name] = line.make(plan)
        print(f"seed {seed}, {plan.name}: done", file=sys.stderr, flush=True)
    return seed, found


def experiment(words: list[str], seed: int) -> Experiment:
    """The run of a seed."""
    split = [f"--data.init_args.split_seed={seed}"] if "seeded" in words else []
    more: list[Any] = [f"--seed_everything={seed}", "--trainer.accelerator=cpu", *split]
    return Experiment([*words, *more], SearchSettings)


def main() -> None:
    given, out, words = asked(__doc__, "courses", 3, passes={"type": int, "default": 2000})
    experiment(words, 0).datamodule().prepare_data()
    work = partial(train, out, given.passes, words)
    with ProcessPoolExecutor(given.workers, get_context("forkserver")) as pool:
        found = dict(pool.map(work, range(given.seeds)))
    print("| plan | accuracy | minus the first | each |\n|---|---|---|---|")
    folders = {plan: [unit_path(out / str(s), found[s][plan]) for s in found] for plan in found[0]}
    first = next(iter(folders.values()))
    for plan, mine in folders.items():
        gap, each = difference([*zip(mine, first, strict=True)])
        print(f"| {plan} | {np.mean([accuracy(folder) for folder in mine]):.2f} | {gap} | {each} |")


if __name__ == "__main__":
    main()
