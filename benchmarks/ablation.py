"""One factor at a time from the default method: which part of it earns its place?

python benchmarks/ablation.py --config omniglot_minimal_conv4 --root PATH/TO/omniglot --output runs/ablation

From one warm start a seed, every variant trains the same number of further steps on the same episodes, kept
on three rays: between the anchors 0 and 0.1 (the main end), 0.1 and 1 (the middle), 1 and 3 (the auxiliary
end). Finished runs are kept: start it again to go on. `--report` prints the table: main-task accuracy on
validation of the best of the three rays and of their mean, each minus the default's on the same episodes, how
far from its ray a run ended (in units of the distance to the next ray; below 0.5 is its sector), and the mean
weight of the main task.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import seed_everything

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.datamodules import EpisodicDataModule
from psst.evaluation import save_scores
from psst.files import write_atomic
from psst.pareto import Method, RaySet, Trajectory, centered_log, rays_between
from psst.search.units import fixed_weights
from psst.training.experiment import Experiment

ANCHORS = (0.0, 0.1, 1.0, 3.0)
RAYS = ("main", "middle", "auxiliary")
PAIRED_EMA, ALONE_EMA = 0.95, 0.99


@dataclass(frozen=True)
class Variant:
    """One factor changed.

    Attributes:
        class_path: Of the method.
        init_args: Of the method, without `rays` and `index`.
        callback: Further arguments of PSSTCallback.
        on_rays: Whether it is kept on a ray; else it is run once a seed.
        paired: Whether it sees the episodes that the anchors saw.
    """

    class_path: str = "psst.pareto.Preference"
    init_args: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, Any] = field(default_factory=dict)
    on_rays: bool = True
    paired: bool = True


VARIANTS = {
    "default": Variant(),
    "min_norm": Variant("psst.pareto.MinNorm"),
    "unpaired": Variant(callback={"ema": ALONE_EMA}, paired=False),
    "uncertainty weighting": Variant("psst.balancers.TorchJD", {"name": "UW"}, on_rays=False),
}


class Ablation:
    """All runs of one configuration and seed.

    Args:
        experiment: The configuration; its `trainer.max_steps` ends every run.
        warm_steps: Steps of the common warm start.
        folder: Where the runs are kept, one folder each.
    """

    def __init__(self, experiment: Experiment, warm_steps: int, folder: Path) -> None:
        self.experiment, self.warm_steps, self.folder = experiment, warm_steps, folder

    def train(self, name: str, method: dict[str, Any], variant: Variant, warm: bool = False) -> None:
        """Train and validate one run, unless it is finished."""
        folder = self.folder / name.replace(" ", "_")
        if (folder / "result.json").is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"ema": PAIRED_EMA, **variant.callback}
        callback = PSSTCallback(method=instantiate(method, Method), **settings)
        trainer = self.experiment.trainer(
            default_root_dir=str(folder),
            max_steps=self.warm_steps if warm else self.experiment.max_steps,
            extra_callbacks=[callback],
            without=PSSTCallback,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            check_val_every_n_epoch=10**6,
            num_sanity_val_steps=0,
        )
        seed_everything(self.experiment.seed, workers=True, verbose=False)
        module, data = self.experiment.module(), self.experiment.datamodule()
        assert isinstance(data, EpisodicDataModule)
        module.build(data.image_shape)
        module.seed, data.seed = [self.experiment.seed + (0 if variant.paired else 1000)] * 2
        began = time.monotonic()
        start = None if warm else str(self.folder / "warm" / "model.ckpt")
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        seconds = time.monotonic() - began
        if trainer.interrupted:
            raise KeyboardInterrupt
        if warm:
            trainer.save_checkpoint(folder / "model.ckpt")
        module.seed = data.seed = self.experiment.seed  # validation episodes are the same for all
        callback.trajectory.save(folder / "trajectory.npz")
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(folder / "val_scores.npz", module.scores)
        result = {key: float(value) for key, value in trainer.callback_metrics.items() if "val/" in key}
        result |= {"seconds": seconds, "main_weight": float(callback.mean_weights[0])}
        write_atomic(folder / "result.json", json.dumps(result, indent=1))
        accuracy = 100 * result["val/accuracy"]
        print(f"{self.folder.name} {name}: {accuracy:.2f} % in {seconds:.0f} s", flush=True)

    def rays(self) -> Path:
        """Three rays between the four anchors, unmerged; written beside the runs."""
        path = self.folder / "rays.npz"
        trajectories = [Trajectory.load(self.folder / f"anchor-{w:g}" / "trajectory.npz") for w in ANCHORS]
        apart = [rays_between(trajectories, [(i, i + 1)]) for i in range(len(RAYS))]
        noise = np.median([rays.noise for rays in apart], axis=0)
        points = np.concatenate([rays.points for rays in apart])
        priors = np.concatenate([rays.priors for rays in apart])
        RaySet(points, apart[0].first_step, priors, noise).save(path)
        return path

    def run(self, names: list[str]) -> None:
        """The warm start, the anchors, and the variants by `names`."""
        self.train("warm", fixed_weights([0.3]), Variant(), warm=True)
        for weight in ANCHORS:
            self.train(f"anchor-{weight:g}", fixed_weights([weight]), Variant())
        rays = self.rays()
        for name in names:
            variant = VARIANTS[name]
            for index in range(len(RAYS) if variant.on_rays else 1):
                arguments = {"rays": str(rays), "index": index} if variant.on_rays else {}
                method = {"class_path": variant.class_path, "init_args": {**arguments, **variant.init_args}}
                self.train(f"{name}-{index}", method, variant)


def error_at_end(folder: Path, run: str, index: int) -> float:
    """How far from its ray the run ended, in units of the distance to the next one."""
    rays, trajectory = RaySet.load(folder / "rays.npz"), Trajectory.load(folder / run / "trajectory.npz")
    last = trajectory.first_step + len(trajectory.log_losses) - 1
    away = centered_log(trajectory.log_losses[-1]) - rays.at(last)[index]
    return float(np.abs(away).max() / rays.distance(index, last))


def results(folder: Path, name: str) -> list[dict[str, float]]:
    """What a variant's runs under one seed gave, with `error` where they have a ray; empty if unfinished."""
    n_runs = len(RAYS) if VARIANTS[name].on_rays else 1
    runs = [folder / f"{name.replace(' ', '_')}-{i}" for i in range(n_runs)]
    if not all((run / "result.json").is_file() for run in runs):
        return []
    found = [json.loads((run / "result.json").read_text(encoding="utf-8")) for run in runs]
    for index, (run, result) in enumerate(zip(runs, found, strict=True)):
        result["error"] = error_at_end(folder, run.name, index) if VARIANTS[name].on_rays else float("nan")
    return found


def report(folders: list[Path]) -> None:
    """The table over all seeds, one row a variant; a difference for each seed that has both."""
    print("| variant | best ray, % | minus default | mean of rays, % | minus default | error | main weight |")
    print("|---|---|---|---|---|---|---|")
    default = [accuracies(results(folder, "default")) for folder in folders]
    for name in VARIANTS:
        by_seed = [results(folder, name) for folder in folders]
        done = [found for found in by_seed if found]
        if not done:
            continue
        cells = []
        for measure in (max, statistics.mean):
            own = [measure(accuracies(found)) for found in done]
            pairs = [(accuracies(a), b) for a, b in zip(by_seed, default, strict=True) if a and b]
            gaps = ", ".join(f"{measure(a) - measure(b):+.2f}" for a, b in pairs)
            cells += [", ".join(f"{value:.2f}" for value in own), gaps]
        for key in ("error", "main_weight"):
            cells.append(" / ".join(f"{np.mean(column):.2f}" for column in column_of(done, key)))
        print(f"| {name} | {' | '.join(cells)} |")


def accuracies(found: list[dict[str, float]]) -> list[float]:
    return [100 * result["val/accuracy"] for result in found]


def column_of(done: list[list[dict[str, float]]], key: str) -> list[list[float]]:
    """For each ray the values of all seeds."""
    return [[run[key] for run in runs] for runs in zip(*done, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--root", help="folder of the data set, as `--data.init_args.root`")
    parser.add_argument("--size", type=int, help="side of the images; the data set's own by default")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--warm-steps", type=int, default=900)
    parser.add_argument("--steps", type=int, default=600, help="after the warm start")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--report", action="store_true", help="print the table, train nothing")
    arguments = parser.parse_args()
    folders = [arguments.output / f"{arguments.config}-{seed}" for seed in arguments.seeds]
    if arguments.report:
        report(folders)
        return
    for seed, folder in zip(arguments.seeds, folders, strict=True):
        overrides: dict[str, object] = {
            "seed_everything": seed,
            "trainer.max_steps": arguments.warm_steps + arguments.steps,
        }
        overrides |= {"data.init_args.root": arguments.root} if arguments.root else {}
        overrides |= {"data.init_args.size": arguments.size} if arguments.size else {}
        experiment = Experiment.from_config(arguments.config, overrides)
        Ablation(experiment, arguments.warm_steps, folder).run(arguments.variants)


if __name__ == "__main__":
    main()
