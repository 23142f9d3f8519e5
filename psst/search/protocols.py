"""What a search needs of a run, and of the way its models are judged: the seam between searches.

A run (a parsed YAML, or a function that makes modules) gives fresh parts and its identity. A judge says what
validation and test are: scores of common episodes, or one number by name. Neither knows of looks or courses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from psst.search.unit import Measured, Metric, Unit

State = dict[str, Tensor]


class Run(Protocol):
    """One training, from which every part can be made afresh, as often as asked."""

    @property
    def max_steps(self) -> int:
        """T, in passes of the main batch: optimizer steps of a training on the main task alone."""

    def module(self) -> LightningModule:
        """Return a new module; its parameters depend on the run's seed alone."""

    def datamodule(self) -> LightningDataModule:
        """Return a datamodule that no other unit uses."""

    def varied(self, options: tuple[tuple[str, Any], ...]) -> "Run":
        """Return the same run with some keys changed; itself for none."""

    def trainer(
        self,
        extra_callbacks: Sequence[Callback] = (),
        without: type[Callback] | tuple[type[Callback], ...] = (),
        **overrides: Any,
    ) -> Trainer:
        """Return a new trainer with some of the run's arguments replaced."""

    def identity(self) -> str:
        """Return, line by line, what all units depend on: model, data, seed."""


class Judge(Protocol):
    """How the models of a run are made ready, measured, and held against each other."""

    metric: Metric

    @property
    def frozen(self) -> bool:
        """Whether the untrained model has features that are worth something: those of a frozen encoder."""

    def task_names(self) -> list[str]:
        """Return the names of the losses, main first; raise where there is nothing to trade off."""

    def raw_tasks(self) -> list[str]:
        """Return the tasks whose weight counts in raw losses."""

    def chance(self) -> dict[str, float]:
        """Return the losses of guesses that know nothing, by task, as far as they are known."""

    def cost(self, tasks: Sequence[str]) -> float:
        """Return the passes of a step on main and these tasks, one on main alone being 1."""

    def check(self, folds: int) -> str:
        """Raise where a unit would fail later, before anything is written; `folds` above 1 are wanted.

        Returns:
            What there is to say, such as that classes are too few and images are divided; or nothing.
        """

    def data_key(self) -> str:
        """Return a digest of the data, empty where there is none; after `check`."""

    def prepare(
        self, module: LightningModule, data: LightningDataModule, unit: Unit | None, begins: bool = True
    ) -> list[str]:
        """Make a fresh module and its data ready for a unit; return the names of its losses.

        Args:
            module: A fresh one.
            data: A fresh one.
            unit: To be trained or judged; None for the run as it is.
            begins: Whether its training begins, rather than goes on from a stop.
        """

    def renew(self, state: State, unit: Unit, batches: int) -> State:
        """Return the state with BatchNorm statistics renewed on training batches; the same without any."""

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate; return plain values for the manifest, ``losses`` too; the rest stays in `folder`."""

    def measured(self, folder: Path, result: dict[str, Any]) -> Measured:
        """Read what `validate` has left of a unit."""

    @property
    def can_test(self) -> bool:
        """Whether there is anything to test on."""

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test a finished unit's model and leave the result in `folder`."""

    def tested(self, folder: Path) -> Measured | None:
        """Read what `test` left; None if it has not run, or its file is damaged."""
