"""Which auxiliary task to try first: each beside main only, trained for the same passes from scratch.

    python benchmarks/which_task.py signs --seeds 3 -- --data psst.datamodules.ImageFolder \
        --data.init_args.root signs --data.init_args.groups.pattern '(.*)_'

Conv-4 at 32 px with either main task; rotation, classes, SimCLR and supervised contrastive at weights 0.3
and 1, in units of the losses' running means. A pass is the main batch once through the backbone, forward and
backward: a task that costs more has fewer steps. Every training lets its learning rate fall over its
last third. Seed s is the seed of everything; for an ImageFolder it is the class split's too. Trained
models stay in the folder: started again, the same command goes on. `--precision` trains main only and the
first task instead, in float32 and with `precision: auto`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from psst.evaluation import class_difference, load_scores
from psst.process import begin_process
from psst.search.episode_judge import EpisodeJudge
from psst.search.mixture import MAIN_ONLY, alone
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.unit import Unit, Work
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
DRAWS = 10_000

Row = tuple[str, int, str, float, str]
"""Main task, seed, auxiliary task or nothing, its weight, precision."""


def rows(seeds: int, precision: bool) -> Iterator[Row]:
    """All trainings, a whole seed first."""
    for seed in range(seeds):
        for main in MAINS:
            if precision:
                yield from (
                    (main, seed, task, 1.0, kind) for task in ("", "rotation") for kind in ("32", "auto")
                )
                continue
            yield (main, seed, "", 0.0, "auto")
            told = [task for task in TASKS if task != main]  # classes beside classes are the same loss
            yield from ((main, seed, task, weight, "auto") for task in told for weight in (0.3, 1.0))


def name_of(row: Row) -> str:
    """Of the folder of a training."""
    main, seed, task, weight, precision = row
    return f"{main}-{seed}-{task or 'alone'}-{weight:g}-{precision}"


def train(out: Path, passes: int, words: list[str], row: Row) -> str:
    """Train and test one, unless that is done."""
    name, began = name_of(row), time.process_time()
    if (out / "units" / name / "found.json").is_file():
        return f"{name}: there"
    begin_process()
    torch.set_num_threads(1)
    judge = EpisodeJudge(experiment(words, row))
    mixture = alone(row[2], row[3]) if row[2] else MAIN_ONLY
    cost = judge.cost(mixture.tasks)
    steps = round(passes / cost)
    unit = Unit(name, mixture, 0, steps, steps, falls=round(steps * (1 - FALL)))
    runner = UnitRunner(judge, judge.run.settings(), out)
    found = runner.do(Work(unit, name))
    seconds = time.process_time() - began
    tested = runner.do(Work(unit, name, test=True))
    told = {"test": tested["metric"], "validation": found["metric"], "cost": cost, "steps": steps}
    path = out / "units" / name / "found.json"
    path.write_text(json.dumps({**told, "seconds": seconds}), encoding="utf-8")
    return f"{name}: test {100 * tested['metric']:.2f} %, {steps} steps, {seconds:.0f} s"


def experiment(words: list[str], row: Row) -> Experiment:
    """The run of a row, on top of a shipped one."""
    main, seed, task, _, precision = row
    auxiliary = [{"class_path": f"psst.tasks.{TASKS[task]}"}] if task else []
    chosen = {"model.init_args.main": MAINS[main], "model.init_args.auxiliary": auxiliary}
    chosen |= {"data.init_args.batches": "classes" if main == "classes" else "episodes"}
    chosen |= {"data.init_args.batch_size": 100, "data.init_args.augmentations": {"main": CROPS}}
    if "psst.datamodules.ImageFolder" in words:
        chosen |= {"data.init_args.splits": "seeded", "data.init_args.split_seed": seed}
    chosen |= {"trainer.precision": precision, "seed_everything": seed}
    text = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in chosen.items()]
    shipped = ["--config", "mini_imagenet_conv4", "--trainer.max_steps=100", "--trainer.accelerator=cpu"]
    return Experiment([*shipped, *words, "--data.init_args.size=32", *text], SearchSettings)


def table(out: Path, seeds: int) -> None:
    """Print what is there: a line a main task, task and weight; differences to main only are paired."""
    print("| main | task | weight | cost | accuracy | minus main only, same passes | each | s of a core |")
    print("|---|---|---|---|---|---|---|---|")
    for main in MAINS:
        for _, _, task, weight, kind in [row for row in rows(1, False) if row[0] == main]:
            print(line(out, seeds, (main, 0, task, weight, kind), (main, 0, "", 0.0, "auto")))


def line(out: Path, seeds: int, row: Row, plain: Row) -> str:
    """Of all seeds of a row."""
    pairs = [[name_of((one[0], seed, *one[2:])) for one in (row, plain)] for seed in range(seeds)]
    folders = [[out / "units" / name for name in pair] for pair in pairs]
    folders = [pair for pair in folders if all((folder / "found.json").is_file() for folder in pair)]
    found = [json.loads((mine / "found.json").read_text()) for mine, _ in folders]
    if not found:
        return f"| {row[0]} | {row[2] or 'none'} | {row[3]:g} | not trained |"
    accuracy = 100 * np.mean([one["test"] for one in found])
    cells = [row[0], row[2] or "none", f"{row[3]:g}", f"{found[0]['cost']:.2f}", f"{accuracy:.2f}"]
    cells += [*difference(folders), f"{np.mean([one['seconds'] for one in found]):.0f}"]
    return f"| {' | '.join(cells)} |"


def difference(folders: list[list[Path]]) -> tuple[str, str]:
    """Mean over seeds with its interval, which draws seeds and the classes of each; and each seed's."""
    gaps = [class_difference(*(load_scores(one / "test_scores.npz") for one in pair)) for pair in folders]
    means, errors = (
        np.array([100 * f(gap) for gap in gaps]) for f in (lambda g: g.mean, lambda g: g.half_width / 2)
    )
    if not means.any():
        return "", ""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(gaps), size=(DRAWS, len(gaps)))
    low, high = np.percentile(
        (means[drawn] + rng.normal(size=drawn.shape) * errors[drawn]).mean(1), [2.5, 97.5]
    )
    each = ", ".join(f"{gap:+.2f}" for gap in means)
    return f"{means.mean():+.2f} ({low:+.2f} to {high:+.2f})", each


def precisions(out: Path, seeds: int) -> None:
    """Print `auto` beside float32."""
    for main, _, task, weight, _ in [row for row in rows(1, True) if row[-1] == "auto"]:
        fast, exact = ((main, 0, task, weight, kind) for kind in ("auto", "32"))
        print(line(out, seeds, fast, exact))
        print(line(out, seeds, exact, exact))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", help="of the data set, for the folder")
    parser.add_argument("--passes", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/which_task"))
    parser.add_argument("--precision", action="store_true")
    parser.add_argument("--table", action="store_true", help="print only what is there")
    mark = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    words = sys.argv[mark + 1 :]  # of a run: its data
    given = parser.parse_args(sys.argv[1:mark])
    out = given.out / given.name
    if not given.table:
        work = partial(train, out, given.passes, words)
        experiment(words, next(rows(1, given.precision))).datamodule().prepare_data()
        with ProcessPoolExecutor(given.workers, get_context("forkserver")) as pool:
            for told in pool.map(work, rows(given.seeds, given.precision)):
                print(told, flush=True)
    (precisions if given.precision else table)(out, given.seeds)


if __name__ == "__main__":
    main()
