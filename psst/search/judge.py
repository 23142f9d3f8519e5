"""What a search needs of the way its models are judged: the seam between searches.

A run (a parsed YAML, or a function that makes modules) gives fresh parts and its identity. A judge says what
validation and test are: scores of common episodes, or one number by name. Neither knows of looks or courses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jsonargparse import ArgumentError
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, autograd
from torch.utils.flop_counter import FlopCounterMode

from psst.balancers.names import method_named
from psst.search.settings import SearchSettings
from psst.search.unit import Measured, Metric, Unit

if TYPE_CHECKING:
    from psst.search.examples import Told
    from psst.search.python_run import PythonRun
    from psst.training.experiment import Experiment

State = dict[str, Tensor]
Stage = Literal["val", "test"]


class Judge(ABC):
    """How the models of a run are made ready, measured, and held against each other.

    Args:
        run: Gives modules, data and trainers.

    Attributes:
        metric: What chooses.
    """

    metric: Metric

    def __init__(self, run: "Experiment | PythonRun") -> None:
        self.run = run
        self._operations: dict[tuple[str, ...], int] = {}

    def save(self, folder: Path) -> None:  # noqa: B027  # most runs have no text
        """Leave in the search's folder what the run is, where it has a text."""

    @property
    def frozen(self) -> bool:
        """Whether the untrained model has features that are worth something: those of a frozen encoder."""
        return False

    @abstractmethod
    def task_names(self) -> list[str]:
        """Return the names of the losses, main first; raise where there is nothing to trade off."""

    def raw_tasks(self) -> list[str]:
        """Return the tasks whose weight counts in raw losses."""
        return []

    def chance(self) -> dict[str, float]:
        """Return the losses of guesses that know nothing, by task, as far as they are known."""
        return {}

    def check(self, settings: SearchSettings) -> str:
        """Hold settings and data against each other, before anything is written.

        Returns:
            What there is to say, such as that classes are too few and images are divided; or nothing.

        Raises:
            ValueError: A unit would fail later.
        """
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
        return self.check_data(max(look.folds for look in settings.course_of(len(self.task_names()) - 1)))

    @abstractmethod
    def check_data(self, folds: int) -> str:
        """Raise where the data do not do, on `folds` above 1 or on their own classes; else as `check`."""

    def data_key(self) -> str:
        """Return a digest of the data, empty where there is none; after `check`."""
        return ""

    @abstractmethod
    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool
    ) -> list[str]:
        """Make a fresh module and its data ready for a unit, or the run as it is; return its losses' names.

        `begins` says whether its training begins, rather than goes on from a stop.
        """

    def fresh(
        self, unit: Unit | None = None, begins: bool = True
    ) -> tuple[LightningModule, LightningDataModule, list[str]]:
        """Return a new module, its data and the names of its losses, all ready for a unit."""
        run = self.run if unit is None else self.run.varied(unit.setting.options)
        module, data = run.module(), run.datamodule()
        return module, data, self.prepare(module, data, unit, begins)

    @abstractmethod
    def operations(self, tasks: Sequence[str]) -> int:
        """Count the floating-point operations of a step on main and these tasks, see `counted`."""

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

    @abstractmethod
    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Return the state with BatchNorm statistics renewed on training batches; the same without any."""

    @property
    @abstractmethod
    def can_test(self) -> bool:
        """Whether there is anything to test on."""

    @abstractmethod
    def measure(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path, stage: Stage
    ) -> dict[str, Any]:
        """Validate or test; return plain values, ``metric`` among them; the rest stays in `folder`."""

    @abstractmethod
    def measured(self, folder: Path, result: Mapping[str, Any], stage: Stage = "val") -> Measured:
        """Read what `measure` has left of a unit; OSError, ValueError or KeyError where it is damaged."""

    def told(self, unit: Unit, state: State, device: torch.device) -> "Told | None":
        """Return what a model tells of test classes, query by query, where there are such."""
        return None


def counted(compute: Callable[[], Mapping[str, Tensor]], tasks: Sequence[str]) -> int:
    """Count the operations of computing losses, main first, and of going back from main and some tasks."""
    with FlopCounterMode(display=False) as counter:
        losses = compute()
        parts = [loss for place, (name, loss) in enumerate(losses.items()) if not place or name in tasks]
        autograd.backward([part for part in parts if part.requires_grad])
    return int(counter.get_total_flops())


def evaluated(
    module: LightningModule, data: LightningDataModule, trainer: Trainer, stage: Stage, tasks: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Validate or test; return all that was logged, and the losses by task among it."""
    (trainer.validate if stage == "val" else trainer.test)(module, datamodule=data, verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    keys = {task: f"{stage}/{task}_loss" for task in tasks}
    return logged, {task: logged[key] for task, key in keys.items() if key in logged}
