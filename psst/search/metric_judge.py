"""Any module is judged by one logged metric; its losses come from validation, or from the end of training."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from psst.files import read_json, write_json
from psst.search.explore import State, neighbors
from psst.search.protocols import BatchWork, T, training_losses
from psst.search.python_run import PythonRun
from psst.search.result import Candidate, Metric, Selection
from psst.search.training_pass import on_training_batches, training_pass

_TEST_FILE, _FORMAT = "test_metrics.json", 1


class MetricJudge:
    """Judges by `monitor`, as the module logs it in validation.

    Losses are ``val/<task>_loss`` where the module logs all of them; otherwise the running means (decay 0.95)
    of the training losses at a unit's last step, comparable because all units see the same batches.
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
            module = _check_factory(self.run)
            names, _ = training_pass(self.run, module, 0, 1)
            _check_names(names, type(module).__name__)
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
            _check_checkpoint_loads(trainer, Path(folder) / "untrained.ckpt")

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Seed what the fit draws before its first batch; batches key the rest."""
        seed_everything(self.run.seed, workers=True, verbose=False)

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate; the losses of a trained unit that logs none are those of its trajectory's end."""
        trainer.validate(module, datamodule=data, verbose=False)
        result = self._measured(trainer)
        if "losses" not in result and (losses := training_losses(folder, self.task_names())):
            result |= {"losses": losses, "losses_from": "training"}
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

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: BatchWork[T]) -> T:
        """Do `work` with losses of training batches, by the module's own `training_step`."""
        return on_training_batches(self.run, state, starts, count, work)

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test, and keep what the module logs."""
        trainer.test(module, datamodule=data, verbose=False)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        write_json(folder / _TEST_FILE, logged, _FORMAT)

    def read_test(self, folder: Path) -> dict[str, Any] | None:
        """Logged test metrics by name."""
        path = folder / _TEST_FILE
        return read_json(path, _FORMAT, f"the record of test metrics `{path}`") if path.is_file() else None

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


def _check_factory(run: PythonRun) -> LightningModule:
    """Return a fresh module, proven by a second one to share nothing and to begin with the same parameters.

    Raises:
        TypeError: One is no LightningModule.
        ValueError: The two are one object, share a parameter or a buffer, or differ.
    """
    first, second = run.module(), run.module()
    if first is second:
        raise ValueError(
            "`module_factory` gave the same object twice, but each unit needs a module of its own; make it "
            "inside: `lambda: MyModule(...)`."
        )
    one, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (first, second))
    for name, value in one.items():
        twin = other.get(name)
        if any(value is tensor for tensor in other.values()):
            raise ValueError(
                f"`module_factory` gave two modules that share `{name}`, so that units would train each "
                "other's; make every layer inside the factory."
            )
        if twin is None or twin.shape != value.shape or not _same(value, twin):
            raise ValueError(
                f"`module_factory` gave two modules that differ in `{name}`, though `seed={run.seed}` was "
                "set before each; draw parameters from torch's global generator."
            )
    return first


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two parameters are equal, or have no values yet."""
    if is_lazy(one) or is_lazy(other):
        return is_lazy(one) and is_lazy(other)
    return torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach()))


def _check_names(names: Sequence[str], module: str) -> None:
    """Raise ValueError unless there are two losses or more, named as folders may be."""
    if len(names) < 2:
        raise ValueError(
            f"`losses` of {module} are {list(names)}: a search trades off at least two; return another one "
            'beside it from `training_step`: {"loss": ..., "losses": {"main": ..., "other": ...}}.'
        )
    for name in names:
        if not re.fullmatch(r"[\w .+-]+", name):
            raise ValueError(
                f"`losses['{name}']` of {module} names files and folders of the search; use letters, digits, "
                "`_`, `-` and `.` only."
            )


def _check_checkpoint_loads(trainer: Trainer, path: Path) -> None:
    """Raise TypeError if what the module and callbacks put into a checkpoint is more than plain values."""
    trainer.save_checkpoint(path)
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        kind = type(trainer.lightning_module).__name__
        reason = str(error).split("Please file")[0].strip().splitlines()[-1].strip()
        raise TypeError(
            f"a checkpoint of {kind} cannot be read with `weights_only=True` ({reason}); keep objects out "
            "of it: `self.save_hyperparameters(ignore=[...])`."
        ) from error
