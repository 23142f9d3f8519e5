"""Every main and auxiliary task on the embedded letters: does it learn, and what does a step cost?

python benchmarks/tasks.py --steps 600
python benchmarks/tasks.py --cost
"""

import argparse
import time
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from pytorch_lightning import Callback

from psst.callbacks import PSSTCallback
from psst.training.experiment import Experiment

HEAD = {"class_path": "psst.fewshot.PrototypicalHead"}
EPISODIC = {"class_path": "psst.tasks.Episodic", "init_args": {"head": HEAD}}
GLOBAL = {"class_path": "psst.tasks.GlobalClasses", "init_args": {"head": HEAD}}
CROPS = {
    "main": {"class_path": "psst.images.augment.Augmentation", "init_args": {"resized_crop": [0.5, 1.0]}}
}
KINDS = ("Rotation", "Classes", "SimCLR", "SupervisedContrastive", "PatchLocation", "SelfDistillation")


class Losses(Callback):
    """Keeps the losses and the seconds of every step, and the chance level of every task."""

    def __init__(self):
        self.losses, self.chances, self.seconds = [], {}, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Start the clock."""
        if not self.chances:
            self.chances = {task.name: task.chance(batch) for task in pl_module._tasks()}
        self._begin = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Stop it, and keep the losses."""
        self.seconds.append(time.perf_counter() - self._begin)
        self.losses.append({name: float(loss) for name, loss in outputs["losses"].items()})


def fit(folder, main, auxiliary, steps, batches="episodes", callback=True, augmented=False):
    """Train as `psst fit --config quickstart` does, with other tasks; return what was seen."""
    overrides = {
        "model.init_args.main": main,
        "model.init_args.auxiliary": [{"class_path": f"psst.tasks.{kind}"} for kind in auxiliary],
        "data.init_args.batches": batches,
        "data.init_args.batch_size": 60,
        "data.init_args.cache_dir": folder / "cache",
        "trainer.max_steps": steps,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": False,
        "trainer.enable_model_summary": False,
        "trainer.limit_val_batches": 0,
        "trainer.log_every_n_steps": 50,
    }
    if augmented:
        overrides["data.init_args.augmentations"] = CROPS
    experiment, seen = Experiment.from_config("quickstart", overrides, search=dict), Losses()
    trainer = experiment.trainer([seen], without=() if callback and auxiliary else PSSTCallback)
    trainer.fit(experiment.module(), datamodule=experiment.datamodule())
    return seen


def learn(folder, steps, only):
    """Print the first and the last losses of each task beside its chance level."""
    print(f"{'task':<38} {'first 10':>9} {'last 50':>9} {'chance':>7}")
    rows = [("main: Episodic", EPISODIC, [], "episodes"), ("main: GlobalClasses", GLOBAL, [], "classes")]
    rows += [(f"beside Episodic: {kind}", EPISODIC, [kind], "episodes") for kind in KINDS]
    for label, main, auxiliary, batches in rows:
        if only and only not in label:
            continue
        contrastive = auxiliary in (["SimCLR"], ["SupervisedContrastive"])
        seen = fit(folder, main, auxiliary, steps, batches, augmented=contrastive)
        name = [*seen.losses[0]][-1]
        first, last = (fmean(row[name] for row in part) for part in (seen.losses[:10], seen.losses[-50:]))
        chance = seen.chances[name]
        verdict = "" if chance is None else "below chance" if last < chance else "NOT BELOW CHANCE"
        print(f"{label:<38} {first:9.3f} {last:9.3f} {chance or float('nan'):7.3f}  {verdict}", flush=True)


def cost(folder, repeats=5, steps=40):
    """Print a step beside each auxiliary task over one of main alone, without the callback."""
    kinds = (None, *KINDS)
    seconds = {kind: [] for kind in kinds}
    for _ in range(repeats):  # in turn, so that all meet the same machine
        for kind in kinds:
            seen = fit(folder, EPISODIC, [kind] if kind else [], steps, callback=False, augmented=True)
            seconds[kind].append(median(seen.seconds[10:]))
    for kind in kinds:
        ratios = sorted(mine / alone for mine, alone in zip(seconds[kind], seconds[None], strict=True))
        spread = f"x {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        label = f"main + {kind}" if kind else "main"
        print(f"{label:<30} {1e3 * median(seconds[kind]):7.1f} ms  {spread}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", default="", help="part of the name of a task")
    parser.add_argument("--cost", action="store_true", help="time steps in place of learning")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        cost(Path(scratch)) if options.cost else learn(Path(scratch), options.steps, options.only)
