"""Any module is judged by one logged metric, and its standard error by parts of the validation data."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence, Sized
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
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from psst.callbacks.wrapping import read_losses
from psst.search.judge import Judge, Stage, State, counted, evaluated
from psst.search.keyed_loader import one_loader
from psst.search.python_run import PythonRun
from psst.search.unit import Measured, Metric, Unit

_SHARDS = 8

_Compute = Callable[[], dict[str, Tensor]]


class MetricJudge(Judge):
    """Judges by `monitor`, as the module logs it in validation, on all of the data and on eight parts of it.

    Args:
        run: Gives modules and data.
        metric: The monitor.
    """

    run: PythonRun

    def __init__(self, run: PythonRun, metric: Metric) -> None:
        super().__init__(run)
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
            names: list[str] = []
            _on_training_batches(self.run, module, 1, lambda compute: names.extend(compute()))
            _check_names(names, type(module).__name__)
            self._names = names
        return self._names

    def operations(self, tasks: Sequence[str]) -> int:
        """Of the first training batch: a step computes all losses, and goes back through some."""
        found: list[int] = []
        _on_training_batches(
            self.run, self.run.module(), 1, lambda compute: found.append(counted(compute, tasks))
        )
        return found[0]

    def check_data(self, folds: int) -> str:
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
            trainer = self.run.trainer(default_root_dir=folder)
            self._value(evaluated(self.run.module(), self.run.datamodule(), trainer, "val", ())[0])
            _check_checkpoint_loads(trainer, Path(folder) / "untrained.ckpt")
        return (
            "a metric has no classes: standard errors are those over eight parts of the validation data, and "
            "none where it has fewer batches"
        )

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool
    ) -> list[str]:
        """Seed what the fit draws before its first batch, and name the stream of batches."""
        seed_everything(self.run.seed, workers=True, verbose=False)
        if unit is not None and unit.batches:
            data.psst_stream = f"train {unit.batches}"  # type: ignore[attr-defined]  # see PythonRun
        return self.task_names()

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Average BatchNorm statistics over training batches."""
        return renewed(self.run, state, batches)

    @property
    def can_test(self) -> bool:
        """Whether the module has a `test_step` and the datamodule a `test_dataloader`."""
        data = self.run.plain_datamodule()
        return is_overridden("test_step", self.run.module()) and is_overridden("test_dataloader", data)

    def measure(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path, stage: Stage
    ) -> dict[str, Any]:
        """Judge on all of the data, in validation on each of its parts too.

        The test's metric is that which is named like the monitor, else the first.
        """
        logged, losses = evaluated(module, data, trainer, stage, self.task_names())
        if stage == "test":
            wanted = re.sub(r"^val(id(ation)?)?", "test", self.metric.name)
            return {"metric": logged.get(wanted, next(iter(logged.values()), float("nan")))}
        value, shards = self._value(logged), self._shards(module, data, trainer)
        return {"metric": value, "losses": losses, **({"shards": shards} if shards else {})}

    def measured(self, folder: Path, result: Mapping[str, Any], stage: Stage = "val") -> Measured:
        """Read a unit's result."""
        quality = self.metric.quality
        shards = [quality(value) for value in result.get("shards", [])]
        known = np.array(shards) if shards else None
        return Measured(result["metric"], quality(result["metric"]), shards=known)

    def _shards(self, module: LightningModule, data: LightningDataModule, trainer: Trainer) -> list[float]:
        """The metric on every eighth batch, from each of the first eight on; nothing with fewer batches."""
        whole = data.val_dataloader
        loader = one_loader(whole())
        if not isinstance(loader, Sized) or len(loader) < _SHARDS:
            return []
        values = []
        for first in range(_SHARDS):
            part = list(islice(one_loader(whole()), first, None, _SHARDS))
            data.val_dataloader = lambda part=part: DataLoader(part, batch_size=None)  # type: ignore[misc,method-assign]  # a hook
            values.append(self._value(evaluated(module, data, trainer, "val", ())[0]))
        return values

    def _value(self, logged: Mapping[str, float]) -> float:
        if self.metric.name not in logged:
            found = ", ".join(f"`{name}`" for name in sorted(logged)) or "nothing"
            raise ValueError(
                f"`monitor='{self.metric.name}'` is not logged in validation, which logs {found}; name one "
                "of these, or log it in `validation_step`."
            )
        return logged[self.metric.name]


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
    owned = set(map(id, other.values()))
    for name, value in one.items():
        if id(value) in owned:
            raise ValueError(
                f"`module` gave two modules that share `{name}`, so that units would train each "
                "other's; make every layer inside the function."
            )
        if name not in other or not _same(value, other[name]):
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


def _on_training_batches(
    run: PythonRun, module: LightningModule, count: int, each: Callable[[_Compute], object]
) -> None:
    """Give `each` a function that computes the named losses of a training batch, batch by batch.

    A fit whose steps give no loss carries the batches: devices, precision, transfer hooks and random numbers
    are those of training, and nothing is trained. The run's callbacks stay silent, and the module is in
    evaluation mode.

    Args:
        run: Gives trainer and data; the batches are the same at every call, and no training sees them so.
        module: A fresh one, of no use for anything else afterwards.
        count: Batches; a shorter loader is gone through again.
        each: Called for each batch.

    Raises:
        TypeError: `training_step` gives no named losses.
        ValueError: The training loader is empty.
    """
    step, seen = module.training_step, []

    @functools.wraps(step)  # Lightning reads the signature
    def training_step(*args: Any, **kwargs: Any) -> None:
        seen.append(each(lambda: read_losses(step(*args, **kwargs), module)))

    module.eval()
    module.training_step = training_step  # type: ignore[method-assign]  # on the instance
    data = run.datamodule()
    data.psst_stream = "fresh"  # type: ignore[attr-defined]  # see PythonRun
    fit: dict[str, Any] = {"max_steps": count, "accumulate_grad_batches": 1, "limit_val_batches": 0}
    run.trainer(callbacks=[], **fit).fit(module, datamodule=data)
    if len(seen) < count:
        raise ValueError(
            f"`train_dataloader` of {type(data).__name__} gave {len(seen)} batches of {count}; "
            "look at its data set and `drop_last`."
        )


def renewed(run: PythonRun, state: State, count: int) -> State:
    """Return the state with BatchNorm statistics averaged over `count` training batches."""
    if not any(name.endswith("running_mean") for name in state):
        return state
    module = run.module()
    layers = {n: m for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}

    @torch.no_grad()
    def look_at(compute: _Compute) -> None:
        if not loaded:
            loaded.append(module.load_state_dict(state))
            for layer in layers.values():
                layer.reset_running_stats()
                layer.momentum = None  # the cumulative average
                layer.train()
        compute()

    loaded: list[object] = []
    _on_training_batches(run, module, count, look_at)
    own = {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_buffers()}
    return {key: own.get(key, value).detach().cpu().clone() for key, value in state.items()}
