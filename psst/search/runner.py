"""Runs one unit of a search as an ordinary Lightning run in its own folder."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.datamodules import EpisodicDataModule
from psst.evaluation import EpisodeScores, save_scores
from psst.files import write_atomic
from psst.pareto import Method
from psst.search.explore import State
from psst.search.progress import SearchProgress
from psst.search.units import Unit
from psst.training import FewShotModule
from psst.training.experiment import Experiment

__all__ = ["UnitRunner"]

PAIRED_EMA = 0.95  # units see the same batches, so their averaged losses are compared with little noise


class UnitRunner:
    """Trains, evaluates and tests the models of one search.

    Args:
        experiment: The parsed configuration; gives a fresh module, datamodule and trainer for each unit.
        folder: The search's output folder; unit u lives in `units/u`.
        progress: Told of every step.
    """

    def __init__(self, experiment: Experiment, folder: Path, progress: SearchProgress) -> None:
        self.experiment = experiment
        self.folder = folder
        self.progress = progress

    def unit_folder(self, name: str) -> Path:
        """Where the unit called `name` keeps its config, log, checkpoint and scores."""
        return self.folder / "units" / name

    def checkpoint(self, name: str) -> Path:
        """The unit's checkpoint."""
        return self.unit_folder(name) / "model.ckpt"

    def train(self, unit: Unit) -> dict[str, Any]:
        """Train a unit from its start, save it, and return its validation result."""
        folder = self.unit_folder(unit.name)
        shutil.rmtree(folder, ignore_errors=True)  # whatever an interrupted run left
        folder.mkdir(parents=True)
        callback = PSSTCallback(method=instantiate(unit.method, Method), ema=PAIRED_EMA)  # type: ignore[type-abstract]
        module, data, trainer = self._fresh(folder, unit.stop, [callback, self.progress], log=True)
        self.experiment.save(folder / "config.yaml")
        write_atomic(folder / "unit.json", json.dumps(asdict(unit), indent=1))
        began = time.monotonic()
        start = str(self.checkpoint("warm")) if unit.start else None
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        seconds = time.monotonic() - began
        trainer.save_checkpoint(self.checkpoint(unit.name))
        callback.trajectory.save(folder / "trajectory.npz")
        result = self._validate(unit.name, module, data, trainer)
        return result | {
            "kind": unit.kind,
            "steps": unit.steps,
            "seconds": seconds,
            "weights": dict(zip(module.task_names, callback.mean_weights.tolist(), strict=True)),
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

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same training episodes, from `start` on, in eval mode."""
        module, data = self._model_and_data()
        episodes = [data.train_episode(start + offset) for offset in range(count)]
        losses = {}
        for name, state in states.items():
            module.load_state_dict(state)
            module.eval()
            with torch.no_grad():
                rows = [
                    [float(value) for value in module.task_losses(episode).values()] for episode in episodes
                ]
            losses[name] = np.array(rows)
        return losses

    def recalibrated(self, state: State, start: int, count: int) -> State:
        """Renew the BatchNorm statistics of `state` on `count` training episodes."""
        module, data = self._model_and_data()
        module.load_state_dict(state)
        module.renew_batch_statistics([data.train_episode(start + offset) for offset in range(count)])
        return {key: value.detach().clone() for key, value in module.state_dict().items()}

    def adopt(self, name: str, state: State, parent: str) -> dict[str, Any]:
        """Make `state` an ordinary checkpoint, like `parent`'s, and return its validation result."""
        folder = self.unit_folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        content = torch.load(self.checkpoint(parent), map_location="cpu", weights_only=True)
        content["state_dict"] = state
        torch.save(content, self.checkpoint(name))
        module, data, trainer = self._fresh(folder, self.experiment.max_steps, [])
        module.load_state_dict(state)
        return self._validate(name, module, data, trainer)

    def test(self, name: str) -> dict[str, EpisodeScores]:
        """Test a finished unit's model; the module writes `test_scores.npz` into the unit's folder."""
        folder = self.unit_folder(name)
        module, data, trainer = self._fresh(folder, self.experiment.max_steps, [])
        module.load_state_dict(self.state(name))
        trainer.test(module, datamodule=data, verbose=False)
        return module.scores

    def _validate(
        self, name: str, module: FewShotModule, data: LightningDataModule, trainer: Trainer
    ) -> dict[str, Any]:
        trainer.validate(module, datamodule=data, verbose=False)
        save_scores(self.unit_folder(name) / "val_scores.npz", module.scores)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        return {
            "losses": {task: metrics[f"val/{task}_loss"] for task in module.task_names},
            "accuracy": metrics["val/accuracy"],
        }

    def _fresh(
        self, folder: Path, max_steps: int, callbacks: list[Any], log: bool = False
    ) -> tuple[FewShotModule, EpisodicDataModule, Trainer]:
        trainer = self.experiment.trainer(
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
        module, data = self.experiment.module(), self._data()
        module.build(data.image_shape)
        return module, data, trainer

    def _data(self) -> EpisodicDataModule:
        data = self.experiment.datamodule()
        if not isinstance(data, EpisodicDataModule):
            raise TypeError(
                f"`data.class_path` is {type(data).__name__}, a search needs an EpisodicDataModule; "
                "name one of psst.datamodules."
            )
        return data

    def _model_and_data(self) -> tuple[FewShotModule, EpisodicDataModule]:
        """A module built for the data, with the data ready for use, outside a trainer."""
        data = self._data()
        data.prepare_data()
        data.setup("fit")
        module = self.experiment.module()
        module.attach(data)
        return module, data
