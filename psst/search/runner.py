"""Runs one unit of a search as an ordinary Lightning run in its own folder."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.files import atomic_path
from psst.pareto import Method
from psst.search.checkpointing import Checkpoints, Watch
from psst.search.engines.progress_file import Report
from psst.search.explore import State
from psst.search.protocols import Judge, Run
from psst.search.ranks import agree, check_ranks, is_first, save_checkpoint
from psst.search.tangents.unit import KeepAt
from psst.search.unit_callbacks import LoadState, StopAt
from psst.search.unit_folder import UnitFolder
from psst.search.units import Unit

__all__ = ["UnitRunner"]

PAIRED_EMA = 0.95  # units see the same batches, so their averaged losses are compared with little noise
CHECKPOINT_EVERY = 200


class UnitRunner:
    """Trains, evaluates and tests the models of one search.

    Args:
        run: Gives a fresh module, datamodule and trainer for each unit.
        folder: The search's output folder; unit u lives in `units/u`.
        judge: Measures the models.
        report: Told how far the unit is that trains.
        checkpoint_every: Optimizer steps after which a unit saves what it needs to go on.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        judge: Judge,
        report: Report | None = None,
        checkpoint_every: int = CHECKPOINT_EVERY,
    ) -> None:
        self.source = run
        self.folder = folder
        self.judge = judge
        self.report = report or (lambda folder, first, step: None)
        self.checkpoint_every = checkpoint_every

    def unit_folder(self, name: str) -> Path:
        """Where the unit called `name` keeps its config, log, checkpoint and scores."""
        return self.folder / "units" / name

    def checkpoint(self, name: str) -> Path:
        """The unit's checkpoint."""
        return UnitFolder(self.unit_folder(name)).model

    def train(self, unit: Unit, start: Path | None = None, keep: Sequence[int] = ()) -> dict[str, Any]:
        """Train a unit from where it was left or from its start, and return its validation result.

        Args:
            unit: To be trained.
            start: Checkpoint that it begins with; the warm start's by default, where `unit.start` is not 0.
            keep: Optimizer steps whose checkpoints are kept beside the last, see `KeepAt`.
        """
        place = UnitFolder(self.unit_folder(unit.name))
        place.open(unit, self.source, start)
        trained, left = agree((place.trained, place.checkpoint))
        if trained is None:
            begin = left or start or (self.checkpoint("warm") if unit.start else None)
            self._fit(unit, place, begin, [KeepAt(keep, place.path)] if keep else [])
            trained = agree(place.trained) or {}
        result = self._validated(unit.name)
        weights = dict(zip(result["losses"], trained.pop("weights"), strict=True))
        return result | {"kind": unit.kind, "steps": unit.steps, "weights": weights} | trained

    def copy(self, name: str, new_name: str) -> None:
        """Give a finished unit a second name."""
        if is_first():
            shutil.rmtree(self.unit_folder(new_name), ignore_errors=True)
            shutil.copytree(self.unit_folder(name), self.unit_folder(new_name))
        agree(None)

    def state(self, name: str) -> State:
        """The parameters and buffers of a finished unit."""
        state: State = torch.load(self.checkpoint(name), map_location="cpu", weights_only=True)["state_dict"]
        return state

    def adopt(self, name: str, state: State, parent: str) -> dict[str, Any]:
        """Make `state` an ordinary checkpoint, like `parent`'s, and return its validation result."""
        place = UnitFolder(self.unit_folder(name))
        place.clear()
        content = torch.load(self.checkpoint(parent), map_location="cpu", weights_only=True)
        content["state_dict"] = state
        if is_first():
            with atomic_path(place.model) as temporary:
                torch.save(content, temporary)
        agree(None)
        return self._validated(name)

    def test(self, name: str) -> None:
        """Test a finished unit's model; the result is left in the unit's folder."""
        folder = self.unit_folder(name)
        parts = self._fresh(folder, [LoadState(self.state(name))])
        self.judge.test(parts.module, parts.data, parts.trainer, folder)
        agree(None)

    def callback(self, method: Method) -> PSSTCallback:
        """What weighs the losses of a unit."""
        return PSSTCallback(method=method, ema=PAIRED_EMA)

    def _fit(self, unit: Unit, place: UnitFolder, begin: Path | None, more: list[Callback]) -> None:
        """Train, and leave model, trajectory and what else is known of the training."""
        method = instantiate(unit.method, Method)
        callback = self.callback(method)
        ending = StopAt(unit.stop)
        saving = Checkpoints(place.last, unit.name, self.checkpoint_every, callback)
        logger = CSVLogger(place.path, name="", version=log_version(begin if begin == place.last else None))
        parts = self._fresh(place.path, [callback, ending, Watch(self.report), *more], logger)
        parts.trainer.callbacks.insert(0, saving)  # type: ignore[attr-defined]  # before any hook of the next step
        path = None if begin is None else str(begin)
        parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=path, weights_only=True)
        if parts.trainer.interrupted:
            raise KeyboardInterrupt
        ending.check(parts.trainer, unit.name)
        seconds = saving.seconds
        save_checkpoint(parts.trainer, place.model)
        if is_first():
            callback.trajectory.save(place.trajectory)
        place.finish(callback.mean_weights.tolist(), callback.unreachable, seconds)

    def _validated(self, name: str) -> dict[str, Any]:
        """Validate what is on disk, so that it does not matter which process has trained it."""
        folder = self.unit_folder(name)
        parts = self._fresh(folder, [LoadState(self.state(name))])
        return self.judge.validate(parts.module, parts.data, parts.trainer, folder)

    def _fresh(self, folder: Path, callbacks: list[Callback], logger: CSVLogger | None = None) -> "Parts":
        max_steps = self.source.max_steps  # of the full training for each unit: schedules are made for it
        trainer = self.source.trainer(
            default_root_dir=str(folder),
            max_steps=max_steps,
            extra_callbacks=callbacks,
            without=PSSTCallback,  # the unit brings its own
            logger=logger or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            check_val_every_n_epoch=max_steps + 1,  # a unit is validated once, at its end
            num_sanity_val_steps=0,
        )
        check_ranks(trainer)
        module, data = self.source.module(), self.source.datamodule()
        self.judge.prepare(module, data)
        return Parts(module, data, trainer)


@dataclass(frozen=True, eq=False)
class Parts:
    """Of one Lightning run."""

    module: LightningModule
    data: LightningDataModule
    trainer: Trainer


def log_version(left: Path | None) -> str:
    """Name of the log's folder; what a unit logs after a checkpoint has its own, named by the step."""
    if left is None:
        return "log"
    step = torch.load(left, map_location="meta", weights_only=True)["global_step"]
    return f"log-{step}"
