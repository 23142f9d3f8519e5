"""Which auxiliary task to try first: each beside main only, trained for the same passes from scratch.

    python benchmarks/which_task.py signs --seeds 3 -- --data psst.datamodules.ImageFolder \
        --data.init_args.root signs --data.init_args.groups.pattern '(.*)_'

Conv-4 at 32 px with either main task; rotation, classes, SimCLR and supervised contrastive at weights 0.3
and 1, in units of the losses' running means. A pass is the main batch once through the backbone, forward and
backward: a task that costs more has fewer steps. Every training lets its learning rate fall over its
last third. Seed s is the seed of everything; for an ImageFolder it is the class split's too. Trained
models stay in the folder: started again, the same command goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seeds import resampled

from psst.process import begin_process
from psst.search.episode_judge import EpisodeJudge
from psst.search.mixture import MAIN_ONLY, Mixture, alone
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.unit import Unit
from psst.training.experiment import Experiment

HEAD = {"class_path": "psst.fewshot.PrototypicalHead", "init_args": {}}
COSINE = {"class_path": "psst.fewshot.PrototypicalHead", "init_args": {"metric": "cosine"}}
MAINS = {
    "episodic": {"class_path": "psst.tasks.Episodic", "init_args": {"head": HEAD}},
    "classes": {"class_path": "psst.tasks.GlobalClasses", "init_args": {"head": COSINE}},
}
TASKS = {"rotation": "Rotation", "classes": "Classes", "simclr": "SimCLR"}
TASKS["supervised_contrastive"] = "SupervisedContrastive"
CROPS = {"class_path": "psst.images.augment.Augmentation", "init_args": {"resized_crop": [0.5, 1.0]}}
CROPS["init_args"] |= {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
FALL = 1 / 3

Row = tuple[str, int, str, float]
"""Main task, seed, auxiliary task or nothing, its weight."""


def rows(seeds: int) -> Iterator[Row]:
    """All trainings, a whole seed first."""
    for seed in range(seeds):
        for main in MAINS:
            yield (main, seed, "", 0.0)
            told = [task for task in TASKS if task != main]  # classes beside classes are the same loss
            yield from ((main, seed, task, weight) for task in told for weight in (0.3, 1.0))


def name_of(row: Row) -> str:
    """Of the folder of a training."""
    main, seed, task, weight = row
    return f"{main}-{seed}-{task or 'alone'}-{weight:g}"


def train(out: Path, passes: int, words: list[str], row: Row) -> str:
    """Train and test one, unless that is done."""
    mixture = alone(row[2], row[3]) if row[2] else MAIN_ONLY
    return made(out, name_of(row), partial(experiment, words, row), mixture, passes)


def made(
    out: Path, name: str, run: Callable[[], Experiment], mixture: Mixture, passes: int = 0, steps: int = 0
) -> str:
    """Train and test a mixture for some passes, or steps, in a folder of its own, unless that is done."""
    if (out / "units" / name / "found.json").is_file():
        return f"{name}: there"
    began = time.process_time()
    begin_process()
    torch.set_num_threads(1)
    judge = EpisodeJudge(run())
    judge.check_data(1)
    cost = judge.cost(mixture.tasks)
    steps = steps or round(passes / cost)
    unit = Unit(name, mixture, 0, steps, steps, falls=round(steps * (1 - FALL)), key=name)
    runner = UnitRunner(judge, judge.run.settings(), out)
    found = runner.do(unit)
    seconds = time.process_time() - began
    tested = runner.do(replace(unit, name=f"test {name}", parent=name, test=True))
    told = {"test": tested["metric"], "validation": found["metric"], "cost": cost, "steps": steps}
    path = out / "units" / name / "found.json"
    path.write_text(json.dumps({**told, "seconds": seconds}), encoding="utf-8")
    return f"{name}: test {100 * tested['metric']:.2f} %, {steps} steps, {seconds:.0f} s"


def experiment(words: list[str], row: Row) -> Experiment:
    """The run of a row, on top of a shipped one."""
    main, seed, task, _ = row
    auxiliary = [{"class_path": f"psst.tasks.{TASKS[task]}"}] if task else []
    chosen = {"model.init_args.main": MAINS[main], "model.init_args.auxiliary": auxiliary}
    chosen |= {"data.init_args.batches": "classes" if main == "classes" else "episodes"}
    chosen |= {"data.init_args.batch_size": 100, "data.init_args.augmentations": {"main": CROPS}}
    if "psst.datamodules.ImageFolder" in words:
        chosen |= {"data.init_args.splits": "seeded", "data.init_args.split_seed": seed}
    chosen |= {"trainer.precision": "auto", "seed_everything": seed}
    text = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in chosen.items()]
    shipped = ["--config", "mini_imagenet_conv4", "--trainer.max_steps=100", "--trainer.accelerator=cpu"]
    return Experiment([*shipped, *words, "--data.init_args.size=32", *text], SearchSettings)


def table(out: Path, seeds: int) -> None:
    """Print what is there: a line a main task, task and weight; differences to main only are paired."""
    print("| main | task | weight | cost | accuracy | minus main only, same passes | each | s of a core |")
    print("|---|---|---|---|---|---|---|---|")
    for main in MAINS:
        for _, _, task, weight in [row for row in rows(1) if row[0] == main]:
            plain = [out / "units" / name_of((main, seed, "", 0.0)) for seed in range(seeds)]
            mine = [out / "units" / name_of((main, seed, task, weight)) for seed in range(seeds)]
            print(line([main, task or "none", f"{weight:g}"], mine, plain))


def line(cells: list[str], mine: list[Path], plain: list[Path]) -> str:
    """Of all seeds that are there: accuracy, paired difference to others, seconds."""
    pairs = zip(mine, plain, strict=True)
    folders = [pair for pair in pairs if all((folder / "found.json").is_file() for folder in pair)]
    found = [json.loads((one / "found.json").read_text()) for one, _ in folders]
    if not found:
        return f"| {' | '.join(cells)} | not trained |"
    accuracy = 100 * np.mean([one["test"] for one in found])
    cells = [*cells, f"{found[0]['cost']:.2f}", f"{accuracy:.2f}", *difference(folders)]
    return f"| {' | '.join(cells)} | {np.mean([one['seconds'] for one in found]):.0f} |"


def difference(folders: list[tuple[Path, Path]]) -> tuple[str, str]:
    """Mean over seeds with its interval, which draws seeds and the classes of each; and each seed's."""
    if all(mine == plain for mine, plain in folders):
        return "", ""
    gaps, low, high = resampled(folders)
    return f"{np.mean(gaps):+.2f} ({low:+.2f} to {high:+.2f})", ", ".join(f"{gap:+.2f}" for gap in gaps)


def asked(about: str | None, folder: str, seeds: int, **more: dict[str, Any]) -> tuple[Any, Path, list[str]]:
    """What was asked for, the folder that it is kept in, and the words of a run, which follow `--`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", help="of the data set, for the folder")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs") / folder)
    for name, how in more.items():
        parser.add_argument(f"--{name}", **how)
    mark = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given = parser.parse_args(sys.argv[1:mark])
    return given, given.out / given.name, sys.argv[mark + 1 :]


def main() -> None:
    only = {"action": "store_true", "help": "print only what is there"}
    given, out, words = asked(__doc__, "which_task", 3, passes={"type": int, "default": 2000}, table=only)
    if not given.table:
        work = partial(train, out, given.passes, words)
        experiment(words, next(rows(1))).datamodule().prepare_data()
        with ProcessPoolExecutor(given.workers, get_context("forkserver")) as pool:
            for told in pool.map(work, rows(given.seeds)):
                print(told, flush=True)
    table(out, given.seeds)


if __name__ == "__main__":
    main()
