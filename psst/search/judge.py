"""How the models of a run are made ready, measured, and held against each other: the seam between searches.

A run (a parsed YAML, or a function that makes modules) gives fresh parts and its identity. A judge says what
validation and test are, and knows nothing of looks or courses. This one judges any module by one logged
metric, and its standard error by parts of the validation data.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from jsonargparse import ArgumentError
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, autograd
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from psst.balancers import method_named
from psst.callbacks.wrapping import read_losses
from psst.search.keyed_loader import one_loader
from psst.search.python_run import PythonRun
from psst.search.settings import SearchSettings, Setting
from psst.search.unit import Measured, Metric, Unit

if TYPE_CHECKING:
    from psst.search.examples import Told

State = dict[str, Tensor]
Stage = Literal["val", "test"]
_SHARDS = 8

_Compute = Callable[[], dict[str, Tensor]]
_T = TypeVar("_T")


class Judge:
    """Judges by a metric that the module logs in validation, on all of the data and on eight parts of it."""

    def __init__(self, run: Any, metric: Metric) -> None:
        self.run = run  # gives modules, data and trainers: a `PythonRun`, or what does the same
        self.metric = metric
        self._operations: dict[tuple[str, ...], int] = {}
        self._names: list[str] = []

    @property
    def frozen(self) -> tuple[Setting, ...]:
        """Settings in which the untrained model is worth something: one with a frozen encoder."""
        return ()

    def save(self, folder: Path) -> None:
        """Leave in the search's folder what the run is, where it has a text."""

    def task_names(self) -> list[str]:
        """Run one batch through a fresh module, and return the names of its losses, main first."""
        if not self._names:
            module = self.run.proven_module()
            [names] = _on_training_batches(self.run, module, 1, lambda compute: list(compute()))
            _check_names(names, type(module).__name__)
            self._names = names
        return self._names

    def raw_tasks(self) -> list[str]:
        """Return the tasks whose weight counts in raw losses."""
        return []

    @property
    def chance(self) -> dict[str, float]:
        """Return the losses of guesses that know nothing, by task, as far as they are known."""
        return {}

    def check(self, settings: SearchSettings) -> str:
        """Return what there is to say of settings and data; ValueError where a unit would fail later."""
        for method in settings.methods:
            try:
                method_named(method)
            except ValueError as error:
                raise ValueError(f"`search.methods`: {error}") from error
        for key, values in settings.vary.items():
            try:
                _ = [self.run.varied(((key, value),)) for value in values if key not in ("length", "rate")]
            except ArgumentError as error:
                raise ValueError(f"`search.vary.{key}={values}`: {error}.".replace("\n", " ")) from error
        return self.check_data(max(look.folds for look in settings.course_of(self.task_names()[1:])))

    def check_data(self, folds: int) -> str:
        """As `check`, of the data alone: an untrained module is validated, and its checkpoint read."""
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

    def data_key(self) -> str:
        """Return a digest of the data, empty where there is none; after `check`."""
        return ""

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool
    ) -> list[str]:
        """Make a fresh module and its data ready for a unit, or the run as it is; return its losses' names.

        `begins` says whether its training begins, rather than goes on from a stop. What the fit draws before
        its first batch is seeded, and the stream of batches named.
        """
        seed_everything(self.run.seed, workers=True, verbose=False)
        if unit is not None and unit.batches:
            data.psst_stream = f"train {unit.batches}"  # type: ignore[attr-defined]  # see PythonRun
        return self.task_names()

    def fresh(
        self, unit: Unit | None = None, begins: bool = True
    ) -> tuple[LightningModule, LightningDataModule, list[str]]:
        """Return a new module, its data and the names of its losses, all ready for a unit."""
        run = self.run if unit is None else self.run.varied(unit.setting.options)
        module, data = run.module(), run.datamodule()
        return module, data, self.prepare(module, data, unit, begins)

    def operations(self, tasks: Sequence[str]) -> int:
        """Count the floating-point operations of a step on main and these tasks, on the first batch."""
        count = partial(counted, tasks=tasks)
        [operations] = _on_training_batches(self.run, self.run.module(), 1, count)
        return operations

    def cost(self, tasks: Sequence[str]) -> float:
        """Return the passes of a step on main and these tasks, one on main alone being 1."""
        key = tuple(tasks)
        if not key:
            return 1.0
        for one in (key, ()):
            if one not in self._operations:
                self._operations[one] = self.operations(one)
        main = self._operations[()]
        return max(self._operations[key] / main, 1.0) if main else 1.0

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Return the state with BatchNorm statistics averaged over training batches."""
        module = self.run.module()
        layers = {
            n: m for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats
        }

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
        _on_training_batches(self.run, module, batches, look_at)
        own = {
            f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_buffers()
        }
        return {key: own.get(key, value).detach().cpu().clone() for key, value in state.items()}

    @property
    def can_test(self) -> bool:
        """Whether the module has a `test_step` and the datamodule a `test_dataloader`."""
        data = self.run.plain_datamodule()
        return is_overridden("test_step", self.run.module()) and is_overridden("test_dataloader", data)

    def measure(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, model: Path, stage: Stage
    ) -> dict[str, Any]:
        """Judge a checkpoint on all of the data, in validation on each of its parts too; return plain values.

        The test's metric is that which is named like the monitor, else the first.
        """
        logged, losses = evaluated(module, data, trainer, stage, self.task_names(), model)
        if stage == "test":
            wanted = re.sub(r"^val(id(ation)?)?", "test", self.metric.name)
            return {"metric": logged.get(wanted, next(iter(logged.values()), float("nan")))}
        value, shards = self._value(logged), self._shards(module, data, trainer, model)
        return {"metric": value, "losses": losses, **({"shards": shards} if shards else {})}

    def measured(self, folder: Path, result: Mapping[str, Any], stage: Stage = "val") -> Measured:
        """Read what `measure` has left of a unit; OSError, ValueError or KeyError where it is damaged."""
        quality = self.metric.quality
        shards = [quality(value) for value in result.get("shards", [])]
        known = np.array(shards) if shards else None
        return Measured(result["metric"], quality(result["metric"]), shards=known)

    def told(self, unit: Unit, state: State, device: torch.device) -> "Told | None":
        """Return what a model tells of test classes, query by query, where there are such."""
        return None

    def _shards(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, model: Path
    ) -> list[float]:
        """The metric on every eighth batch, from each of the first eight on; nothing with fewer batches."""
        whole = data.val_dataloader
        loader = one_loader(whole())
        if not isinstance(loader, Sized) or len(loader) < _SHARDS:
            return []
        values = []
        for first in range(_SHARDS):
            part = list(islice(one_loader(whole()), first, None, _SHARDS))
            data.val_dataloader = lambda part=part: DataLoader(part, batch_size=None)  # type: ignore[misc,method-assign]  # a hook
            values.append(self._value(evaluated(module, data, trainer, "val", (), model)[0]))
        return values

    def _value(self, logged: Mapping[str, float]) -> float:
        if self.metric.name not in logged:
            found = ", ".join(f"`{name}`" for name in sorted(logged)) or "nothing"
            raise ValueError(
                f"`monitor='{self.metric.name}'` is not logged in validation, which logs {found}; name one "
                "of these, or log it in `validation_step`."
            )
        return logged[self.metric.name]


def counted(compute: Callable[[], Mapping[str, Tensor]], tasks: Sequence[str]) -> int:
    """Count the operations of computing losses, main first, and of going back from main and some tasks."""
    with FlopCounterMode(display=False) as counter:
        losses = compute()
        parts = [loss for place, (name, loss) in enumerate(losses.items()) if not place or name in tasks]
        autograd.backward([part for part in parts if part.requires_grad])
    return int(counter.get_total_flops())


def evaluated(
    module: LightningModule,
    data: LightningDataModule,
    trainer: Trainer,
    stage: Stage,
    tasks: Sequence[str],
    model: Path | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Validate or test a checkpoint, or a module as it is; return all that was logged, and losses by task."""
    evaluate = trainer.validate if stage == "val" else trainer.test
    evaluate(module, datamodule=data, ckpt_path=model, weights_only=True, verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    keys = {task: f"{stage}/{task}_loss" for task in tasks}
    return logged, {task: logged[key] for task, key in keys.items() if key in logged}


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
    run: PythonRun, module: LightningModule, count: int, each: Callable[[_Compute], _T]
) -> list[_T]:
    """Return what `each` makes, batch by batch, of a function that computes the named losses.

    A fit whose steps give no loss carries the batches: devices, precision, transfer hooks and random numbers
    are those of training, and nothing is trained. The run's callbacks stay silent. The batches are the same
    at every call, and no training sees them so; a loader of fewer than `count` is gone through again. The
    fresh module is in evaluation mode, and of no use for anything else afterwards.
    """
    step = module.training_step
    seen: list[_T] = []

    @wraps(step)  # Lightning reads the signature
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
    return seen
