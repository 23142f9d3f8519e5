"""A published row of a table: what it says, and the stages of training that lead there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback, LambdaCallback, ModelCheckpoint, Timer
from pytorch_lightning.loggers import CSVLogger

from psst.deploy.export import load_module
from psst.evaluation.class_draw import ClassDifference, mean_accuracy
from psst.files import write_atomic
from psst.tasks.finished import read_finished
from psst.training.experiment import Experiment

_PREVIOUS = "{previous}"


@dataclass(frozen=True)
class Published:
    """Accuracy that a paper prints, in percent."""

    way: int  # classes of an episode
    shot: int  # support images of a class
    accuracy: float  # the mean
    half_width: float | None = None  # of the 95% interval over the draw of episodes, as papers have it
    ours: float | None = None  # what this recipe has reached here, with all of its steps


@dataclass(frozen=True)
class Recipe:
    """What stands under ``recipe:`` in a run of that kind.

    A later stage has the keys in which it differs from the first. It begins with the encoder's weights of the
    stage before, and ``{previous}`` is the path of that checkpoint.
    """

    source: str  # paper, table, where the settings are from
    results: tuple[Published, ...]  # rows of its table
    then: tuple[Mapping[str, Any], ...] = ()  # later stages
    departs: tuple[str, ...] = ()  # in what this differs from what was published

    @classmethod
    def read(cls, found: object, where: str) -> "Recipe":
        """Check what the config `where` holds; ValueError if it is no recipe."""
        if not isinstance(found, Mapping) or not found.get("source") or not found.get("results"):
            raise ValueError(
                f"`{where}` has no `recipe:` with `source` and `results`; run it with `psst fit --config "
                f"{where}`, or name one that `psst reproduce --list` shows."
            )
        known = cls.__dataclass_fields__
        if unknown := sorted(set(found) - set(known)):
            raise ValueError(f"`recipe.{unknown[0]}` of `{where}` is unknown; known: {', '.join(known)}.")
        try:
            results = tuple(Published(**row) for row in found["results"])
        except TypeError as error:
            raise ValueError(f"`recipe.results` of `{where}`: {error}.") from error
        return cls(found["source"], results, tuple(found.get("then", ())), tuple(found.get("departs", ())))


def reproduce(
    run: Experiment, recipe: Recipe, folder: Path, last: Mapping[str, object]
) -> tuple[list[ClassDifference], dict[str, Any]]:
    """Train stage by stage, and test the last one as the paper does; goes on where it was stopped.

    `run` is the first stage, and the keys `last` win over those of any stage. Returns the accuracies of the
    rows of the paper's table; ``checkpoint``, the last stage's best one, ``steps`` and ``seconds`` of all
    stages.
    """
    done: list[dict[str, Any]] = []
    for number, keys in enumerate(({}, *recipe.then), start=1):
        previous = Path(done[-1]["checkpoint"]) if done else None
        named = json.loads(json.dumps(dict(keys)).replace(_PREVIOUS, str(previous)))
        stage = run.with_overrides({**named, **last})
        done.append(_trained(stage, folder / f"stage-{number}", previous))
    found = [_tested(stage, row, Path(done[-1]["checkpoint"]), folder) for row in recipe.results]
    length = {key: sum(one[key] for one in done) for key in ("steps", "seconds")}
    return found, {**done[-1], **length}


def _trained(stage: Experiment, folder: Path, previous: Path | None) -> dict[str, Any]:
    """Train a stage unless it is done; return its best checkpoint, its steps and its seconds."""
    note, last = folder / "done.json", folder / "last.ckpt"
    if note.is_file():
        return dict(json.loads(note.read_text(encoding="utf-8")))
    stage.save(folder / "config.yaml")
    best = ModelCheckpoint(
        folder, "best", "val/accuracy", mode="max", save_last=True, enable_version_counter=False
    )
    watch = Timer()  # resumed fits included
    extra: list[Callback] = [best, watch]
    if previous is not None and not last.is_file():  # before tasks take what they need of the first weights
        state = read_finished(previous).encoder.state_dict()
        extra.append(LambdaCallback(on_fit_start=lambda _, module: module.encoder.load_state_dict(state)))
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
