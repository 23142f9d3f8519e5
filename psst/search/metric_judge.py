"""Any module is judged by one logged metric, and its standard error by parts of the validation data."""

import re
from collections.abc import Sequence, Sized
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from psst.files import read_json, write_json
from psst.search.flops import backward_flops, ratio
from psst.search.keyed_loader import one_loader
from psst.search.protocols import State
from psst.search.python_run import PythonRun
from psst.search.training_batches import losses_with_graph, on_training_batches, renewed
from psst.search.unit import Measured, Metric, Unit

_TESTED, _FORMAT = "test_metrics.json", 1
_SHARDS = 8


class MetricJudge:
    """Judges by `monitor`, as the module logs it in validation, on all of the data and on eight parts of it.

    Args:
        run: Gives modules and data.
        metric: The monitor.
    """

    frozen = False

    def __init__(self, run: PythonRun, metric: Metric) -> None:
        self.run = run
        self.metric = metric
        self._names: list[str] = []
        self._flops: dict[str, int] = {}

    def task_names(self) -> list[str]:
        """Run one batch through a fresh module, and return the names of its losses, main first.

        Raises:
            TypeError: The factory gives no LightningModule, or its `training_step` no named losses.
            ValueError: There is one loss only, a name cannot name a folder, or the factory's modules are not
                fresh.
        """
        if not self._names:
            module = _check_factory(self.run)
            on_training_batches(self.run, module, 1, self._look_at)
            _check_names(self._names, type(module).__name__)
        return self._names

    def raw_tasks(self) -> list[str]:
        """None: all weights count in units of running means."""
        return []

    def chance(self) -> dict[str, float]:
        """Nothing is known of these losses."""
        return {}

    def cost(self, tasks: Sequence[str]) -> float:
        """Passes of a step: it computes all losses, and goes back through those that have a weight."""
        main = self._flops["forward"] + self._flops["main only"]
        back = self._flops["main only"] + sum(self._flops[t] - self._flops["main only"] for t in tasks)
        return ratio(self._flops["forward"] + back, main)

    def check(self, folds: int) -> str:
        """Validate an untrained module, and read its checkpoint.

        Raises:
            TypeError: A checkpoint of the module cannot be read with ``weights_only=True``.
            ValueError: `monitor` is not logged, or folds are wanted.
        """
        if folds > 1:
            raise ValueError(
                "`search.course=folds` needs classes to fold, and a module with a metric has none; choose "
                "`course='trunk'` or `'grid'`."
            )
        self.task_names()
        with TemporaryDirectory() as folder:
            module, data = self.run.module(), self.run.datamodule()
            trainer = self.run.measuring(default_root_dir=folder)
            trainer.validate(module, datamodule=data, verbose=False)
            self._value(trainer)
            _check_checkpoint_loads(trainer, Path(folder) / "untrained.ckpt")
        return (
            "a metric has no classes: standard errors are those over eight parts of the validation data, and "
            "none where it has fewer batches"
        )

    def data_key(self) -> str:
        """Nothing: changed data are not noticed."""
        return ""

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool = True
    ) -> list[str]:
        """Seed what the fit draws before its first batch, and name the stream of batches."""
        seed_everything(self.run.seed, workers=True, verbose=False)
        if unit is not None and unit.batches:
            data.psst_stream = f"train {unit.batches}"  # type: ignore[attr-defined]  # see PythonRun
        return self.task_names()

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Average BatchNorm statistics over training batches."""
        return renewed(self.run, state, batches)

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate on all of the data, and on each of its parts."""
        trainer.validate(module, datamodule=data, verbose=False)
        result: dict[str, Any] = {"metric": self._value(trainer)}
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        keys = {task: f"val/{task}_loss" for task in self.task_names()}
        result["losses"] = {task: logged[key] for task, key in keys.items() if key in logged}
        shards = self._shards(module, data, trainer)
        return {**result, "shards": shards} if shards else result

    def measured(self, folder: Path, result: dict[str, Any]) -> Measured:
        """Read a unit."""
        quality = self.metric.quality
        shards = [quality(value) for value in result.get("shards", [])]
        known = np.array(shards) if shards else None
        return Measured(result["metric"], quality(result["metric"]), shards=known)

    @property
    def can_test(self) -> bool:
        """Whether the module has a `test_step` and the datamodule a `test_dataloader`."""
        data = self.run.plain_datamodule()
        return is_overridden("test_step", self.run.module()) and is_overridden("test_dataloader", data)

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test, and keep what the module logs."""
        trainer.test(module, datamodule=data, verbose=False)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        write_json(folder / _TESTED, logged, _FORMAT)

    def tested(self, folder: Path) -> Measured | None:
        """The logged test metric that is named like the monitor, else the first."""
        try:
            logged = read_json(folder / _TESTED, _FORMAT, "the record of test metrics")
        except (FileNotFoundError, ValueError):
            return None
        wanted = re.sub(r"^val(id(ation)?)?", "test", self.metric.name)
        value = logged.get(wanted, next(iter(logged.values()), float("nan")))
        return Measured(value, self.metric.quality(value))

    def _look_at(self, compute: Any) -> None:
        """Take names and costs of one batch."""
        with FlopCounterMode(display=False) as counter:
            losses: dict[str, Tensor] = losses_with_graph(compute)
        self._names = list(losses)
        self._flops = {"forward": int(counter.get_total_flops()), "main only": backward_flops(losses, ())}
        self._flops |= {task: backward_flops(losses, (task,)) for task in self._names[1:]}

    def _shards(self, module: LightningModule, data: LightningDataModule, trainer: Trainer) -> list[float]:
        """The metric on every eighth batch, from each of the first eight on; nothing with fewer batches."""
        loader = one_loader(data.val_dataloader())
        count = len(loader) if isinstance(loader, Sized) else 0
        if count < _SHARDS:
            return []
        whole, values = data.val_dataloader, []
        for first in range(_SHARDS):
            data.val_dataloader = lambda first=first: _Part(one_loader(whole()), first)  # type: ignore[misc,method-assign]
            trainer.validate(module, datamodule=data, verbose=False)
            values.append(self._value(trainer))
        return values

    def _value(self, trainer: Trainer) -> float:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.metric.name not in logged:
            found = ", ".join(f"`{name}`" for name in sorted(logged)) or "nothing"
            raise ValueError(
                f"`monitor='{self.metric.name}'` is not logged in validation, which logs {found}; name one "
                "of these, or log it in `validation_step`."
            )
        return logged[self.metric.name]


class _Part:
    """Every eighth batch of a loader."""

    def __init__(self, loader: Any, first: int) -> None:
        self.loader, self.first = loader, first

    def __len__(self) -> int:
        return len(range(self.first, len(self.loader), _SHARDS))

    def __iter__(self) -> Any:
        return islice(iter(self.loader), self.first, None, _SHARDS)


def _check_factory(run: PythonRun) -> LightningModule:
    """Return a fresh module, proven by a second one to share nothing and to begin with the same parameters.

    Raises:
        TypeError: One is no LightningModule.
        ValueError: The two are one object, share a parameter or a buffer, or differ.
    """
    first, second = run.module(), run.module()
    if first is second:
        raise ValueError(
            "`module` gave the same object twice, but each unit needs a module of its own; make it "
            "inside: `lambda: MyModule(...)`."
        )
    one, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (first, second))
    for name, value in one.items():
        twin = other.get(name)
        if any(value is tensor for tensor in other.values()):
            raise ValueError(
                f"`module` gave two modules that share `{name}`, so that units would train each "
                "other's; make every layer inside the function."
            )
        if twin is None or twin.shape != value.shape or not _same(value, twin):
            raise ValueError(
                f"`module` gave two modules that differ in `{name}`, though `seed={run.seed}` was "
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
