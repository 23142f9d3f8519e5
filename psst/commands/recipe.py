"""A published row of a table: what it says, and the stages of training that lead there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, Timer
from pytorch_lightning.loggers import CSVLogger

from psst.deploy.export import load_module
from psst.evaluation.class_draw import ClassDifference, mean_accuracy
from psst.files import write_atomic
from psst.tasks.finished import read_finished
from psst.training.experiment import Experiment

_KEYS = {"source", "results", "then", "departs"}
_PREVIOUS = "{previous}"


@dataclass(frozen=True)
class Published:
    """Accuracy that a paper prints, in percent.

    Attributes:
        way: Classes of an episode.
        shot: Support images a class.
        accuracy: The mean.
        half_width: Of the 95% interval over the draw of episodes, as papers have it; None where none stands.
        ours: What this recipe has reached here, with all of its steps; None before it was run.
    """

    way: int
    shot: int
    accuracy: float
    half_width: float | None = None
    ours: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What stands under ``recipe:`` in a run of that kind.

    Attributes:
        source: Paper, table, where the settings are from.
        results: Rows of its table.
        then: Later stages: each the keys in which it differs from the first. It begins with the encoder's
            weights of the stage before, and ``{previous}`` is the path of that checkpoint.
        departs: In what this differs from what was published.

    Example:
        >>> Recipe.read({"source": "Table 1", "results": [{"way": 5, "shot": 1, "accuracy": 49.42}]}, "here")
        ...     .results[0].accuracy
        49.42
    """

    source: str
    results: tuple[Published, ...]
    then: tuple[Mapping[str, Any], ...] = ()
    departs: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: object, where: str) -> "Recipe":
        """Check what a config holds.

        Raises:
            ValueError: It is no recipe.
        """
        if not isinstance(found, Mapping) or not found.get("source") or not found.get("results"):
            raise ValueError(
                f"`{where}` has no `recipe:` with `source` and `results`; run it with `psst fit --config "
                f"{where}`, or name one that `psst reproduce --list` shows."
            )
        unknown = sorted(set(found) - _KEYS)
        if unknown:
            raise ValueError(f"`recipe.{unknown[0]}` of `{where}` is unknown; known: {', '.join(_KEYS)}.")
        try:
            results = tuple(Published(**row) for row in found["results"])
        except TypeError as error:
            raise ValueError(f"`recipe.results` of `{where}`: {error}.") from error
        return cls(found["source"], results, tuple(found.get("then", ())), tuple(found.get("departs", ())))


@dataclass(frozen=True)
class _Reproduced:
    """Accuracies of the rows of the paper's table, the length of all stages, and the last one's best."""

    found: list[ClassDifference]
    steps: int
    seconds: float
    checkpoint: Path


def reproduce(run: Experiment, recipe: Recipe, folder: Path, last: Mapping[str, object]) -> _Reproduced:
    """Train stage by stage, and test the last one as the paper does; goes on where it was stopped.

    Args:
        run: The first stage.
        recipe: Its later ones, and what to test.
        folder: Of everything that is written.
        last: Keys that win over those of any stage.
    """
    done: list[dict[str, Any]] = []
    for number, keys in enumerate(({}, *recipe.then), start=1):
        previous = Path(done[-1]["checkpoint"]) if done else None
        named = json.loads(json.dumps(dict(keys)).replace(_PREVIOUS, str(previous)))
        stage = run.with_overrides({**named, **last})
        done.append(_trained(stage, folder / f"stage-{number}", previous))
    checkpoint = Path(done[-1]["checkpoint"])
    found = [_tested(stage, row, checkpoint, folder) for row in recipe.results]
    return _Reproduced(
        found, sum(one["steps"] for one in done), sum(one["seconds"] for one in done), checkpoint
    )


def _trained(stage: Experiment, folder: Path, previous: Path | None) -> dict[str, Any]:
    """Train a stage unless it is done; return its best checkpoint, its steps and its seconds."""
    note, last = folder / "done.json", folder / "last.ckpt"
    if note.is_file():
        known: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        return known
    stage.save(folder / "config.yaml")
    best = ModelCheckpoint(
        folder, "best", "val/accuracy", mode="max", save_last=True, enable_version_counter=False
    )
    watch = Timer()  # resumed fits included
    extra = [best, watch] if previous is None or last.is_file() else [best, watch, _Begin(previous)]
    trainer = stage.trainer(extra, default_root_dir=folder, logger=CSVLogger(folder, "", ""))
    trainer.fit(stage.module(), stage.datamodule(), ckpt_path=last if last.is_file() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not best.best_model_path:  # it ended before its first validation
        trainer.save_checkpoint(last)
    done = {
        "checkpoint": best.best_model_path or str(last),
        "steps": trainer.global_step,
        "seconds": watch.time_elapsed("train"),
    }
    write_atomic(note, json.dumps(done))
    return done


def _tested(stage: Experiment, row: Published, checkpoint: Path, folder: Path) -> ClassDifference:
    """Accuracy with its intervals over classes and over episodes alone."""
    settings = {"data.init_args.evaluation.way": row.way, "data.init_args.evaluation.shot": row.shot}
    data = stage.with_overrides(settings).datamodule()
    module = load_module(checkpoint)
    place = folder / f"{row.way}-way-{row.shot}-shot"
    stage.trainer(default_root_dir=place, logger=False).test(module, datamodule=data, verbose=False)
    return mean_accuracy(module.scores)


class _Begin(Callback):
    """Begins with the encoder of a finished stage."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take its weights, before the tasks take what they need of the first ones."""
        state = read_finished(self.checkpoint).encoder.state_dict()
        pl_module.encoder.load_state_dict(state)  # type: ignore[union-attr]  # FewShotModule has one
