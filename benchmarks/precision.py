"""What `precision: auto` costs in accuracy and saves in time, over seeds.

    python benchmarks/precision.py photos --config pretrained_adapter -- --data.init_args.root photos

Trains a run in float32 and with `precision: auto`, on main only and on all its tasks at weight 1 (in units of
the losses' running means), for `trainer.max_steps` steps, and tests both on the same episodes. Several
configs, such as those of searches over class splits, count as several seeds do. Trained models stay in the
folder: started again, the same command goes on.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from which_task import asked, line, made

from psst.search.mixture import MAIN_ONLY, together
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment

KINDS = ("32-true", "auto")


def run(config: str, words: list[str], seed: int, precision: str) -> Experiment:
    """A shipped run with a seed and a precision."""
    chosen = [f"--seed_everything={seed}", f"--trainer.precision={precision}", "--trainer.accelerator=cpu"]
    return Experiment(["--config", config, *words, *chosen], SearchSettings)


def train(out: Path, words: list[str], row: tuple[tuple[str, int], str, str]) -> str:
    """One training."""
    (config, seed), tasks, precision = row
    make = partial(run, config, words, seed, precision)
    names = [one.name for one in make().module().auxiliary.values()] if tasks == "all" else []
    mixture = together(names) if names else MAIN_ONLY
    return made(out, name_of(config, seed, tasks, precision), make, mixture, steps=make().max_steps)


def name_of(config: str, seed: int, tasks: str, precision: str) -> str:
    """Of the folder of a training."""
    path = Path(config)
    return f"{path.parent.name if path.suffix else path.name}-{seed}-{tasks}-{precision}"


def main() -> None:
    configs = {"nargs": "+", "default": ["quickstart"]}
    given, out, words = asked(__doc__, "precision", 5, config=configs)
    cases = [(config, seed) for config in given.config for seed in range(given.seeds)]
    for config in given.config:
        run(config, words, 0, "auto").datamodule().prepare_data()
    rows = [(case, tasks, kind) for case in cases for tasks in ("main", "all") for kind in KINDS]
    with ProcessPoolExecutor(given.workers, get_context("forkserver")) as pool:
        for told in pool.map(partial(train, out, words), rows):
            print(told, flush=True)
    print("| tasks | precision | cost | accuracy | minus float32 | each | s of a core |")
    print("|---|---|---|---|---|---|---|")
    for tasks in ("main", "all"):
        exact, fast = ([out / "units" / name_of(*case, tasks, kind) for case in cases] for kind in KINDS)
        print(line([tasks, KINDS[0]], exact, exact))
        print(line([tasks, KINDS[1]], fast, exact))


if __name__ == "__main__":
    main()
