"""Few-shot models are judged by scores on common episodes; it alone knows FewShotModule and its data."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from psst.datamodules import EpisodicDataModule
from psst.evaluation import EpisodeScores, load_scores, save_scores
from psst.images.store import ImageStore
from psst.randomness import stream_key
from psst.search.judge import Judge, Stage, State, counted, evaluated
from psst.search.settings import USUAL, SearchSettings, Setting
from psst.search.unit import Measured, Metric, Unit
from psst.training import FewShotModule
from psst.training.experiment import Experiment

if TYPE_CHECKING:
    from psst.search.examples import Told

_SCORES = "{}_scores.npz"  # by stage; those of the test are written by the module
_HEAD = "model.init_args.main.init_args.head"
_LOGISTIC = Setting(options=((_HEAD, "psst.fewshot.LogisticHead"), (f"{_HEAD}.init_args.cost", 10)))
_RENEWS = 10**8  # index of the first training batch that renews statistics: none is trained on


class EpisodeJudge(Judge):
    """Judges a FewShotModule on the episodes of an EpisodicDataModule; its run is sent elsewhere as YAML."""

    run: Experiment
    can_test = True

    def __init__(self, run: Experiment) -> None:
        super().__init__(run, Metric("val_accuracy", "max", "accuracy", "%"))
        self._fold: tuple[int, int] | None = None  # on which the data are looked at

    def __reduce__(self) -> tuple[Callable[[str], "EpisodeJudge"], tuple[str]]:
        return _judge_of, (self.run.yaml(),)

    def save(self, folder: Path) -> None:
        """Write config.yaml."""
        self.run.save(folder / "config.yaml")

    @property
    def frozen(self) -> tuple[Setting, ...]:
        """The run as it is, and logistic regression where it has several shots to learn from."""
        if not self._module.encoder.backbone.has_frozen:
            return ()
        has_head = "head" in self.run.config["model"]["init_args"]["main"].get("init_args", {})
        shots = _episodic(self.run.datamodule()).evaluation.shot
        return (USUAL, _LOGISTIC) if has_head and shots > 1 else (USUAL,)

    def task_names(self) -> list[str]:
        """``main`` and the auxiliary tasks of the module; ValueError where there is none."""
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

    @cached_property
    def chance(self) -> dict[str, float]:
        """Chance level of each auxiliary task that has one."""
        module, data = self._few_shot()
        batch = data.train_batch(0)
        known = {str(name): task.chance(batch) for name, task in module.auxiliary.items()}  # type: ignore[operator]  # Tasks
        return {name: float(level) for name, level in known.items() if level is not None}

    def check_data(self, folds: int) -> str:
        """Build the store if need be, and hold all splits against the settings."""
        data = _episodic(self.run.datamodule())
        self._fold = (0, folds) if folds > 1 else None
        _make_ready(data, self._fold)
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
        data = _episodic(self.run.datamodule())
        data.prepare_data()
        return str(data.open_store().meta["sha256"][ImageStore.meta_file])[:32]

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool
    ) -> list[str]:
        """Set folds, batches and tasks at work, and make the layers for the data's images and classes."""
        assert isinstance(module, FewShotModule)
        images = _episodic(data)
        if unit is not None:
            module.working = unit.mixture.tasks
            if begins and unit.batches:
                images.see_other_batches(unit.batches)
        _make_ready(images, self._fold if unit is None else unit.fold)
        module.attach(images)  # its tasks may need the training classes
        return module.task_names

    def operations(self, tasks: Sequence[str]) -> int:
        """Of the first training batch."""
        module, data = self._few_shot()
        module.working = tuple(tasks)
        module.train()
        return counted(lambda: module.task_losses(data.train_batch(0)), tasks)

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Average BatchNorm statistics over training batches."""
        module, data = self._few_shot(unit)
        module.load_state_dict(state)
        module.renew_batch_statistics(data.train_batch(_RENEWS + index) for index in range(batches))
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def measure(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, model: Path, stage: Stage
    ) -> dict[str, Any]:
        """Judge on common episodes, and keep the score of each."""
        assert isinstance(module, FewShotModule)
        _, losses = evaluated(module, data, trainer, stage, module.task_names, model)
        if stage == "val":
            save_scores(model.with_name(_SCORES.format(stage)), module.scores)
        return {"metric": _mean(module.scores), "losses": losses}

    def measured(self, folder: Path, result: Mapping[str, Any], stage: Stage = "val") -> Measured:
        """Read the score on each episode."""
        scores = load_scores(folder / _SCORES.format(stage))
        return Measured(_mean(scores), _mean(scores), scores)

    def told(self, unit: Unit, state: State, device: torch.device) -> "Told":
        """Classify some test episodes once more."""
        from psst.search.examples import Told

        module, data = self._few_shot(unit)
        module.load_state_dict(state)
        data.setup("test")
        return Told.of(module.eval().to(device), data)

    @cached_property
    def _module(self) -> FewShotModule:
        return self.run.module()

    def _few_shot(self, unit: Unit | None = None) -> tuple[FewShotModule, EpisodicDataModule]:
        """`fresh`, typed."""
        module, data, _ = self.fresh(unit)
        assert isinstance(module, FewShotModule)
        return module, _episodic(data)


def _judge_of(text: str) -> EpisodeJudge:
    """Make a judge in another process."""
    run = Experiment.from_config(text, search=SearchSettings)
    if run.yaml() != text:
        raise RuntimeError(
            "the configuration is read differently in a worker; start again, with `--workers 1`."
        )
    return EpisodeJudge(run)


def _fold_of(left_out: int, folds: int, way: int, store: ImageStore) -> ImageStore:
    """Return a store with a fold of its classes left out, or of their images where classes are too few."""
    pool = _pool(store)
    if len(pool) >= 2 * way:
        return store.divided(*folded(store, left_out, folds, way))
    return store.divided(pool, pool) if left_out < 0 else store.divided_images(left_out, folds)


def folded(store: ImageStore, left_out: int, folds: int, way: int) -> tuple[list[int], list[int]]:
    """Return the classes to train on and those left out, of all that are not for testing.

    Whole groups of classes (alphabets) are left out where episodes stay within them, as far as there are
    enough. Three folds become two where a fold would have fewer classes than `way`, those of an evaluation
    episode. Fold -1 trains on all of them and validates on the first.
    """
    pool = _pool(store)
    folds = folds if len(pool) >= folds * way else 2
    left_out = min(left_out, folds - 1)
    known = {**store.groups.get("train", {}), **store.groups.get("val", {})}
    whole = [known[name] for name in sorted(known)] if len(known) >= folds else [[one] for one in pool]
    generator = np.random.Generator(np.random.Philox(key=stream_key(0, "folds", len(pool))))
    order = generator.permutation(len(whole))
    parts = [np.concatenate([whole[i] for i in order[fold::folds]]) for fold in range(folds)]
    held = set(parts[max(left_out, 0)].tolist())
    train = pool if left_out < 0 else [class_id for class_id in pool if class_id not in held]
    return [int(class_id) for class_id in train], sorted(held)


def _pool(store: ImageStore) -> list[int]:
    """Ids of the classes that are not for testing."""
    return sorted({*store.splits["train"].tolist(), *store.splits["val"].tolist()})


def _make_ready(data: EpisodicDataModule, fold: tuple[int, int] | None) -> None:
    """Make data ready for use, outside a trainer."""
    data.prepare_data()
    if fold is not None:
        data.divide(partial(_fold_of, *fold, data.evaluation.way))
    data.setup("fit")


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
    return float(np.mean([group.mean for group in scores.values()])) if scores else math.nan
