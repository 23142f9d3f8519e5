"""Few-shot models are judged by scores on common episodes; it alone knows FewShotModule and its data."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from psst.backbones import Backbone
from psst.datamodules import EpisodicDataModule
from psst.evaluation import EpisodeScores, load_scores, save_scores
from psst.images.store import ImageStore
from psst.randomness import stream_key
from psst.search.flops import backward_flops, ratio
from psst.search.protocols import State
from psst.search.unit import Measured, Metric, Unit
from psst.training import FewShotModule
from psst.training.experiment import Experiment

_VALIDATED, _TESTED = "val_scores.npz", "test_scores.npz"  # the second is written by the module
_RENEWS = 10**8  # index of the first training batch that renews statistics: none is trained on


class EpisodeJudge:
    """Judges a FewShotModule on the episodes of an EpisodicDataModule.

    Args:
        experiment: Gives both.
    """

    metric = Metric("val_accuracy", "max", "accuracy", "%")
    can_test = True

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._costs: dict[tuple[str, ...], float] = {}
        self._fold: tuple[int, int] | None = None  # on which the data are looked at

    @property
    def frozen(self) -> bool:
        """Whether the backbone has a frozen part."""
        return type(self._module.encoder.backbone).frozen is not Backbone.frozen

    def task_names(self) -> list[str]:
        """``main`` and the auxiliary tasks of the module.

        Raises:
            ValueError: There is no auxiliary task.
        """
        names = self._module.task_names
        if len(names) < 2:
            raise ValueError(
                "`model.init_args.auxiliary=[]` leaves nothing to trade off; name an auxiliary task such as "
                "psst.tasks.Rotation, or train plainly with `psst fit`."
            )
        return names

    def raw_tasks(self) -> list[str]:
        """Tasks whose loss starts at its least value."""
        return [name for name, task in self._module.auxiliary.items() if getattr(task, "unit", "") == "raw"]

    def chance(self) -> dict[str, float]:
        """Chance level of each auxiliary task that has one."""
        module, data = self._model_and_data()
        batch = data.train_batch(0)
        known = {str(name): task.chance(batch) for name, task in module.auxiliary.items()}  # type: ignore[operator]
        return {name: float(level) for name, level in known.items() if level is not None}

    def cost(self, tasks: Sequence[str]) -> float:
        """Passes of a step: operations of main and these tasks over those of main alone, on one batch."""
        key = tuple(tasks)
        if key not in self._costs:
            self._costs[key] = ratio(self._flops(key), self._flops(())) if key else 1.0
        return self._costs[key]

    def check(self, folds: int) -> str:
        """Build the store if need be, and hold all splits against the settings."""
        data = _episodic(self.experiment.datamodule())
        self._fold = (0, folds) if folds > 1 else None
        self._ready(data, self._fold)
        if folds < 2:
            return ""
        way, classes = data.evaluation.way, len(_pool(data.open_store()))
        if classes < 2 * way:
            return (
                f"{classes} classes that are not for testing make no two folds of "
                f"`data.init_args.evaluation.way={way}`: folds of their images are left out instead, and "
                "what is best for new images of these classes is chosen"
            )
        return f"{classes} classes make 2 folds of {way} or more, not 3" if classes < 3 * way else ""

    def data_key(self) -> str:
        """A digest of the images and splits."""
        data = _episodic(self.experiment.datamodule())
        data.prepare_data()
        return str(data.open_store().meta["sha256"][ImageStore.meta_file])[:32]

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool = True
    ) -> list[str]:
        """Set folds, batches and tasks at work, and make the layers for the data's images and classes."""
        few_shot, images = _few_shot(module), _episodic(data)
        if unit is not None:
            few_shot.working = unit.mixture.tasks
            if begins and unit.batches:
                images.see_other_batches(unit.batches)
        self._ready(images, self._fold if unit is None else unit.fold)
        few_shot.attach(images)  # its tasks may need the training classes
        return few_shot.task_names

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Average BatchNorm statistics over training batches."""
        if not any(name.endswith("running_mean") for name in state):
            return state
        module, data = self._model_and_data(unit)
        module.load_state_dict(state)
        module.renew_batch_statistics(data.train_batch(_RENEWS + index) for index in range(batches))
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate on common episodes, and keep the score of each."""
        module = _few_shot(module)
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(folder / _VALIDATED, module.scores)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        losses = {
            task: logged[f"val/{task}_loss"] for task in module.task_names if f"val/{task}_loss" in logged
        }
        return {"metric": _mean(module.scores), "losses": losses}

    def measured(self, folder: Path, result: dict[str, Any]) -> Measured:
        """Read a unit's score on each episode."""
        scores = load_scores(folder / _VALIDATED)
        return Measured(_mean(scores), _mean(scores), scores)

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test; the module writes the score of each episode into its trainer's folder."""
        trainer.test(module, datamodule=data, verbose=False)

    def tested(self, folder: Path) -> Measured | None:
        """Scores of the test."""
        try:
            scores = load_scores(folder / _TESTED)
        except (FileNotFoundError, ValueError):
            return None
        return Measured(_mean(scores), _mean(scores), scores)

    @cached_property
    def _module(self) -> FewShotModule:
        return self.experiment.module()

    def _ready(self, data: EpisodicDataModule, fold: tuple[int, int] | None) -> None:
        """Make data ready for use, outside a trainer."""
        data.prepare_data()
        if fold is not None:
            data.divide(partial(fold_of, *fold, data.evaluation.way))
        data.setup("fit")

    def _model_and_data(self, unit: Unit | None = None) -> tuple[FewShotModule, EpisodicDataModule]:
        run = self.experiment.varied(() if unit is None else unit.options)
        module, data = run.module(), _episodic(run.datamodule())
        self.prepare(module, data, unit)
        return module, data

    def _flops(self, tasks: tuple[str, ...]) -> int:
        module, data = self._model_and_data()
        module.working = tasks
        module.train()
        with FlopCounterMode(display=False) as counter:
            losses = module.task_losses(data.train_batch(0))
        return int(counter.get_total_flops()) + backward_flops(losses, tasks)


def fold_of(left_out: int, folds: int, way: int, store: ImageStore) -> ImageStore:
    """Return a store with a fold of its classes left out, or of their images where classes are too few.

    Args:
        left_out: Number of the fold; -1 for none.
        folds: How many.
        way: Classes of an evaluation episode.
        store: Holds the images.
    """
    pool = _pool(store)
    if len(pool) >= 2 * way:
        return store.divided(*folded(store, left_out, folds, way))
    return store.divided(pool, pool) if left_out < 0 else store.divided_images(left_out, folds)


def folded(store: ImageStore, left_out: int, folds: int, way: int) -> tuple[list[int], list[int]]:
    """Return the classes to train on and those left out, of all that are not for testing.

    Whole groups of classes (alphabets) are left out where episodes stay within them, as far as there are
    enough. Three folds become two where a fold would have fewer classes than `way`.

    Args:
        store: Holds the classes.
        left_out: Number of the fold, below `folds`; -1 trains on all of them and validates on the first.
        folds: How many.
        way: Classes of an evaluation episode.
    """
    pool = _pool(store)
    folds = folds if len(pool) >= folds * way else 2
    left_out = min(left_out, folds - 1)
    known = {**store.groups.get("train", {}), **store.groups.get("val", {})}
    generator = np.random.Generator(np.random.Philox(key=stream_key(0, "folds", len(pool))))
    if len(known) >= folds:
        names = sorted(known)
        order = generator.permutation(len(names))
        parts = [np.concatenate([known[names[i]] for i in order[fold::folds]]) for fold in range(folds)]
    else:
        order = generator.permutation(pool)
        parts = [order[fold::folds] for fold in range(folds)]
    held = set(parts[max(left_out, 0)].tolist())
    train = pool if left_out < 0 else [class_id for class_id in pool if class_id not in held]
    return [int(class_id) for class_id in train], sorted(held)


def _pool(store: ImageStore) -> list[int]:
    """Ids of the classes that are not for testing."""
    return sorted({*store.splits["train"].tolist(), *store.splits["val"].tolist()})


def _few_shot(module: LightningModule) -> FewShotModule:
    """Return the module, typed."""
    assert isinstance(module, FewShotModule)
    return module


def _episodic(data: LightningDataModule) -> EpisodicDataModule:
    """Return the datamodule, typed; TypeError if it has no episodes."""
    if not isinstance(data, EpisodicDataModule):
        raise TypeError(
            f"`data.class_path` is {type(data).__name__}, a search needs an EpisodicDataModule; "
            "name one of psst.datamodules."
        )
    return data


def _mean(scores: Mapping[str, EpisodeScores]) -> float:
    """Mean accuracy over groups of classes."""
    values = [group.mean for group in scores.values()]
    return float(np.mean(values)) if values else math.nan
