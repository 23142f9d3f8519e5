"""Runs one unit of a search as an ordinary Lightning run in its own folder."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.files import write_atomic
from psst.pareto import Method
from psst.search.explore import State
from psst.search.progress import SearchProgress
from psst.search.protocols import Judge, Run
from psst.search.units import Unit

__all__ = ["UnitRunner"]

PAIRED_EMA = 0.95  # units see the same batches, so their averaged losses are compared with little noise


class UnitRunner:
    """Trains, evaluates and tests the models of one search.

    Args:
        run: Gives a fresh module, datamodule and trainer for each unit.
        folder: The search's output folder; unit u lives in `units/u`.
        progress: Told of every step.
        judge: Measures the models.
    """

    def __init__(self, run: Run, folder: Path, progress: SearchProgress, judge: Judge) -> None:
        self.source = run
        self.folder = folder
        self.progress = progress
        self.judge = judge

    def unit_folder(self, name: str) -> Path:
        """Where the unit called `name` keeps its config, log, checkpoint and scores."""
        return self.folder / "units" / name

    def checkpoint(self, name: str) -> Path:
        """The unit's checkpoint."""
        return self.unit_folder(name) / "model.ckpt"

    def train(self, unit: Unit) -> dict[str, Any]:
        """Train a unit from its start, save it, and return its validation result."""
        folder = self._empty_folder(unit.name)
        method = instantiate(unit.method, Method)  # type: ignore[type-abstract]
        callback = PSSTCallback(method=method, ema=PAIRED_EMA)
        ending = StopAt(unit.stop)
        module, data, trainer = self._fresh(folder, [callback, ending, self.progress], log=True)
        self.source.save(folder / "config.yaml")
        write_atomic(folder / "unit.json", json.dumps(asdict(unit), indent=1))
        began = time.monotonic()
        start = str(self.checkpoint("warm")) if unit.start else None
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        ending.check(trainer, unit.name)
        seconds = time.monotonic() - began
        trainer.save_checkpoint(self.checkpoint(unit.name))
        callback.trajectory.save(folder / "trajectory.npz")
        result = self.judge.validate(module, data, trainer, folder)
        return result | {
            "kind": unit.kind,
            "steps": unit.steps,
            "seconds": seconds,
            "weights": dict(zip(result["losses"], callback.mean_weights.tolist(), strict=True)),
            "unreachable": callback.unreachable,
        }

    def copy(self, name: str, new_name: str) -> None:
        """Give a finished unit a second name."""
        shutil.rmtree(self.unit_folder(new_name), ignore_errors=True)
        shutil.copytree(self.unit_folder(name), self.unit_folder(new_name))

    def state(self, name: str) -> State:
        """The parameters and buffers of a finished unit."""
        state: State = torch.load(self.checkpoint(name), map_location="cpu", weights_only=True)["state_dict"]
        return state

    def adopt(self, name: str, state: State, parent: str) -> dict[str, Any]:
        """Make `state` an ordinary checkpoint, like `parent`'s, and return its validation result."""
        folder = self._empty_folder(name)
        content = torch.load(self.checkpoint(parent), map_location="cpu", weights_only=True)
        content["state_dict"] = state
        torch.save(content, self.checkpoint(name))
        module, data, trainer = self._fresh(folder, [LoadState(state)])
        return self.judge.validate(module, data, trainer, folder)

    def test(self, name: str) -> None:
        """Test a finished unit's model; the result is left in the unit's folder."""
        folder = self.unit_folder(name)
        module, data, trainer = self._fresh(folder, [LoadState(self.state(name))])
        self.judge.test(module, data, trainer, folder)

    def _empty_folder(self, name: str) -> Path:
        folder = self.unit_folder(name)
        shutil.rmtree(folder, ignore_errors=True)  # whatever an interrupted run left
        folder.mkdir(parents=True)
        return folder

    def _fresh(
        self, folder: Path, callbacks: list[Callback], log: bool = False
    ) -> tuple[LightningModule, LightningDataModule, Trainer]:
        max_steps = self.source.max_steps  # of the full training for each unit: schedules are made for it
        trainer = self.source.trainer(
            default_root_dir=str(folder),
            max_steps=max_steps,
            extra_callbacks=callbacks,
            without=PSSTCallback,  # the unit brings its own
            logger=CSVLogger(folder, name="", version="log") if log else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            check_val_every_n_epoch=max_steps + 1,  # a unit is validated once, at its end
            num_sanity_val_steps=0,
        )
        module, data = self.source.module(), self.source.datamodule()
        self.judge.prepare(module, data)
        return module, data, trainer


class LoadState(Callback):
    """Gives the module its parameters once it has been set up: only then some modules have their layers.

    Args:
        state: Of a finished unit, or an average.
    """

    def __init__(self, state: State) -> None:
        self._weights = state

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load."""
        pl_module.load_state_dict(self._weights)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load."""
        pl_module.load_state_dict(self._weights)


class StopAt(Callback):
    """Ends a fit after a number of optimizer steps, the trainer's `max_steps` being that of a full training.

    A learning rate schedule that asks the trainer for its length thus gets the same answer in every unit.

    Args:
        step: The last optimizer step, counted from the start of the warm start.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Ask the trainer to stop."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True

    def check(self, trainer: Trainer, name: str) -> None:
        """Raise ValueError if the fit has ended elsewhere: models of different lengths cannot be compared."""
        if trainer.global_step != self.step:
            raise ValueError(
                f"unit `{name}` ended at step {trainer.global_step} instead of {self.step}; remove what "
                "stops it (`EarlyStopping`, `max_epochs`, `max_time`), for all candidates train equally long."
            )
