"""What a search needs of a run, and of the way its models are judged: the seam between searches.

A run (a parsed YAML, or a function that makes modules) gives fresh parts and its identity. A judge says what
validation and test are: scores of common episodes, or one number by name. Neither knows of units.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from psst.pareto import Trajectory
from psst.search.explore import State
from psst.search.result import Candidate, Metric, Selection
from psst.tangents.curvature import BatchLosses

T = TypeVar("T")
BatchWork = Callable[[LightningModule, list[list[BatchLosses]]], T]
"""What is to be done with a module in evaluation mode and its losses on some sets of fixed batches."""


class Run(Protocol):
    """One training, from which every part can be made afresh, as often as asked."""

    @property
    def max_steps(self) -> int:
        """Optimizer steps of one full training."""

    def module(self) -> LightningModule:
        """Return a new module; its parameters depend on the run's seed alone."""

    def datamodule(self) -> LightningDataModule:
        """Return a datamodule that no other unit uses."""

    def trainer(
        self,
        extra_callbacks: Sequence[Callback] = (),
        without: type[Callback] | tuple[type[Callback], ...] = (),
        **overrides: Any,
    ) -> Trainer:
        """Return a new trainer with some of the run's arguments replaced."""

    def yaml(self) -> str:
        """Return the run's identity, line by line: what a search must not change once it has begun."""


class Judge(Protocol):
    """How the models of a run are measured, and held against each other."""

    @property
    def metric(self) -> Metric:
        """What chooses."""

    @property
    def selection(self) -> Selection:
        """On which part of validation the search chooses."""

    def task_names(self) -> list[str]:
        """Return the names of the losses, main first; raise where there is nothing to trade off."""

    def check(self, resumed: bool) -> None:
        """Raise where a unit would fail later; `resumed` if units of this run have been validated already."""

    def prepare(self, module: LightningModule, data: LightningDataModule) -> None:
        """Make a fresh module and its data ready for the trainer."""

    def validate(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> dict[str, Any]:
        """Validate; return plain values for the manifest, ``losses`` among them, keep the rest in `folder`.

        An average that was never trained may lack ``losses``.
        """

    def candidate(self, name: str, folder: Path, result: dict[str, Any]) -> Candidate:
        """Read a finished unit."""

    def region(self, candidates: Sequence[Candidate], points: NDArray[np.float64]) -> list[int]:
        """Return the preference region among candidates at ``[n, m]`` centered logarithms of losses."""

    def fresh_losses(
        self, states: dict[str, State], start: int, count: int
    ) -> dict[str, NDArray[np.float64]]:
        """Losses ``[count, m]`` of models on the same batches, `start` and the following, in eval mode."""

    def recalibrated(self, state: State, start: int, count: int) -> State:
        """Renew the BatchNorm statistics of `state` on `count` batches from `start` on."""

    def on_batches(self, state: State, starts: Sequence[int], count: int, work: BatchWork[T]) -> T:
        """Return what `work` makes of a model and its losses on `count` batches of each start.

        The batches are those of `fresh_losses`; sets of different starts are drawn independently, or share
        nothing of a stream without end. Each function gives the same losses, main first, with their
        graphs at every call: evaluation mode, running BatchNorm statistics, no dropout, nothing compiled,
        float32 at least, and the same random numbers.
        """

    def test(
        self, module: LightningModule, data: LightningDataModule, trainer: Trainer, folder: Path
    ) -> None:
        """Test a finished unit's model and leave the result in `folder`."""

    def read_test(self, folder: Path) -> dict[str, Any] | None:
        """Read what `test` left; None if it has not run."""

    @property
    def can_test(self) -> bool:
        """Whether there is anything to test on."""


def training_losses(folder: Path, names: Sequence[str]) -> dict[str, float] | None:
    """Running means of the training losses at a unit's last step; None for what was never trained.

    They stand in for losses that validation does not give for every task, and are comparable because all
    units see the same batches.
    """
    path = folder / "trajectory.npz"
    if not path.is_file():
        return None
    means = np.exp(Trajectory.load(path).log_losses[-1])
    return dict(zip(names, means.tolist(), strict=True))
