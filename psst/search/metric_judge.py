"""Any module is judged by one logged metric; its losses come from validation, or from the end of training."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.model_helpers import is_overridden

from psst.files import write_atomic
from psst.pareto import Trajectory
from psst.search.explore import State
from psst.search.probe import check_checkpoint_loads, check_factory, check_names
from psst.search.python_run import PythonRun
from psst.search.region import neighbors
from psst.search.result import Candidate, Metric, Selection
from psst.search.tangents.batches import T, Work, on_training_batches
from psst.search.training_pass import training_pass

__all__ = ["MetricJudge"]

TEST_FILE = "test_metrics.json"


class MetricJudge:
    """Judges by `monitor`, as the module logs it in validation.

    Losses are ``val/<task>_loss`` where the module logs all of them; otherwise the running means (decay 0.95)
    of the training losses at a unit's last step, comparable because all units see the same batches.

    Args:
        run: Gives the parts.
        metric: What chooses.
    """

    def __init__(self, run: PythonRun, metric: Metric) -> None:
        self.run = run
        self.metric = metric
        self._names: list[str] = []

    def task_names(self) -> list[str]:
        """Run one batch through a fresh module, and return the names of its losses, main first.

        Raises:
            TypeError: The factory gives no LightningModule, or its `training_step` no named losses.
            ValueError: There is one loss only, a name cannot name a folder, or the factory's modules are not
                fresh.
        """
        if not self._names:
            module = check_factory(self.run)
            names, _ = training_pass(self.run, module, 0, 1)
            check_names(names, type(module).__name__)
            self._names = names
        return self._names

    @property
    def selection(self) -> Selection:
        """All of validation chooses: one number a model cannot be told apart by classes."""
        asked = self.run.settings.selection == "confirm"
        reason = "validation gives one number a model, and none for a half of the classes"
        return Selection("best", reason if asked else "")

    @property
    def can_test(self) -> bool:
        """Whether the module has a `test_step` and the datamodule a `test_dataloader`."""
        data = self.run.plain_datamodule()
        return is_overridden("test_step", self.run.module()) and is_overridden("test_dataloader", data)

    def check(self, resumed: bool) -> None:
        """Validate an untrained module, unless trained ones have been validated, and read its checkpoint.

        Raises:
            TypeError: A checkpoint of the module cannot be read with ``weights_only=True``.
            ValueError: `monitor` is not logged, or a loss is negative.
        """
        if resumed:
            return
        with TemporaryDirectory() as folder:
            module, data = self.run.module(), self.run.datamodule()
            trainer = self.run.measuring(default_root_dir=folder)
            trainer.validate(module, datamodule=data, verbose=False)
            self._measured(trainer)
            check_checkpoint_loads(trainer, Path(folder) / "untrained.ckpt")

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Seed what the fit draws before its first batch; batches key the rest."""
        seed_everything(self.run.seed, workers=True, verbose=False)

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate; the losses of a trained unit that logs none are those of its trajectory's end."""
        trainer.validate(module, datamodule=data, verbose=False)
        result = self._measured(trainer)
        trajectory = folder / "trajectory.npz"
        if "losses" not in result and trajectory.is_file():
            means = np.exp(Trajectory.load(trajectory).log_losses[-1])
            result["losses"] = dict(zip(self.task_names(), means.tolist(), strict=True))
            result["losses_from"] = "training"
        return result

    def candidate(self, name: str, folder: Path, result: dict[str, Any]) -> Candidate:
        """Read a unit."""
        return Candidate(name, result["kind"], result["losses"], result["metric"], result)

    def region(self, candidates: Sequence[Candidate], points: NDArray[np.float64]) -> list[int]:
        """The best candidate and its neighbors: one number a model leaves no interval to tell them by."""
        qualities = [self.metric.quality(candidate.metric) for candidate in candidates]
        best = int(np.argmax(qualities))
        return sorted({best} | {i for pair in neighbors(points) if best in pair for i in pair})

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same batches of the training data, in eval mode."""
        return {
            name: training_pass(self.run, self.run.module(), start, count, state)[1]
            for name, state in states.items()
        }

    def recalibrated(self, state: State, start: int, count: int) -> State:
        """Renew the BatchNorm statistics of `state` on `count` batches of the training data."""
        if not any(name.endswith("running_mean") for name in state):
            return state
        module = self.run.module()
        training_pass(self.run, module, start, count, state, renew=True)
        return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: Work[T]) -> T:
        """Do `work` with losses of training batches, by the module's own `training_step`."""
        return on_training_batches(self.run, state, starts, count, work)

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test, and keep what the module logs."""
        trainer.test(module, datamodule=data, verbose=False)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        write_atomic(folder / TEST_FILE, json.dumps(logged, indent=1))

    def read_test(self, folder: Path) -> dict[str, Any] | None:
        """Logged test metrics by name."""
        path = folder / TEST_FILE
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def _measured(self, trainer: Trainer) -> dict[str, Any]:
        """Read the metric, and the losses if all of them are there."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.metric.name not in logged:
            found = ", ".join(f"`{name}`" for name in sorted(logged)) or "nothing"
            raise ValueError(
                f"`monitor='{self.metric.name}'` is not logged in validation, which logs {found}; name one "
                "of these, or log it in `validation_step`."
            )
        keys = {task: f"val/{task}_loss" for task in self.task_names()}
        result: dict[str, Any] = {"metric": logged[self.metric.name]}
        if all(key in logged for key in keys.values()):
            result["losses"] = {task: logged[key] for task, key in keys.items()}
            for task, loss in result["losses"].items():
                if loss < 0 or not math.isfinite(loss):
                    raise ValueError(
                        f"`{keys[task]}` is {loss}, but fronts are drawn by ratios of losses: log a positive "
                        "loss under that name, or none, and that of training is used."
                    )
        return result
