"""Runs one unit of a search as an ordinary Lightning run in its own folder."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.files import atomic_path, read_json, write_atomic, write_json
from psst.pareto import Method
from psst.search.explore import State
from psst.search.progress import Report
from psst.search.protocols import Judge, Run
from psst.search.ranks import agree, check_ranks, first_only, save_checkpoint
from psst.search.unit_callbacks import Checkpoints, KeepAt, LoadState, StopAt, Watch
from psst.search.units import Unit

_CHECKPOINT_EVERY = 200
_FORMAT = 1


class UnitFolder:
    """``units/<name>``: config.yaml and unit.json say what is trained, the others how far it has come.

    ``last.ckpt`` is there while a unit trains; ``training.json`` is written when it has been trained, after
    ``model.ckpt`` and ``trajectory.npz``.

    Example:
        >>> UnitFolder(Path("runs/quickstart/units/plain")).model.name
        'model.ckpt'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.ckpt"
        self.last = path / "last.ckpt"
        self.trajectory = path / "trajectory.npz"
        self._marker = path / "training.json"

    @first_only
    def open(self, unit: Unit, run: Run, start: Path | None = None) -> None:
        """Keep what a unit like this one has left here, started by the same run; else begin anew."""
        described = asdict(unit) | ({} if start is None else {"checkpoint": str(start)})
        description = {"unit.json": json.dumps(described, indent=1), "config.yaml": run.yaml()}
        if all(_read(self.path / name) == text for name, text in description.items()):
            for left in self.path.glob(".*"):  # unfinished writes
                left.unlink()
            return
        self.clear()
        for name, text in description.items():
            write_atomic(self.path / name, text)

    @first_only
    def clear(self) -> None:
        """Begin with an empty folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    @property
    def checkpoint(self) -> Path | None:
        """From where the training goes on; None if it begins."""
        return self.last if _whole(self.last) else None

    @property
    def trained(self) -> dict[str, Any] | None:
        """What training has found; None if it has not come to its end."""
        ended = self._marker.is_file() and _whole(self.model) and _whole(self.trajectory)
        return (
            read_json(self._marker, _FORMAT, f"the record of a training `{self._marker}`") if ended else None
        )

    @first_only
    def finish(self, weights: Sequence[float], unreachable: bool, seconds: float) -> None:
        """Note that the model and its trajectory are there."""
        found = {"weights": list(weights), "unreachable": unreachable, "seconds": seconds}
        write_json(self._marker, found, _FORMAT)
        self.last.unlink(missing_ok=True)


class UnitRunner:
    """Trains, evaluates and tests the models of one search.

    Example:
        >>> UnitRunner(run, folder, judge).train(schedule.warm)["losses"]
        {'main': 1.21, 'rotation': 0.94}
    """

    ema = 0.95  # units see the same batches, so their averaged losses are compared with little noise

    def __init__(
        self,
        run: Run,
        folder: Path,
        judge: Judge,
        report: Report | None = None,
        checkpoint_every: int = _CHECKPOINT_EVERY,
        watching: Sequence[Callback] = (),
    ) -> None:
        self.source = run
        self.folder = folder
        self.judge = judge
        self.report = report or (lambda folder, first, step: None)
        self.checkpoint_every = checkpoint_every
        self.watching = watching

    def unit_folder(self, name: str) -> Path:
        """Where the unit called `name` keeps its config, log, checkpoint and scores."""
        return self.folder / "units" / name

    def checkpoint(self, name: str) -> Path:
        """The unit's checkpoint."""
        return UnitFolder(self.unit_folder(name)).model

    def train(self, unit: Unit, start: Path | None = None, keep: Sequence[int] = ()) -> dict[str, Any]:
        """Train a unit from where it was left or from its start, and return its validation result.

        Args:
            unit: To be trained.
            start: Checkpoint that it begins with; the warm start's by default, where `unit.start` is not 0.
            keep: Optimizer steps whose checkpoints are kept beside the last, see `KeepAt`.
        """
        place = UnitFolder(self.unit_folder(unit.name))
        place.open(unit, self.source, start)
        trained, left = agree((place.trained, place.checkpoint))
        if trained is None:
            begin = left or start or (self.checkpoint("warm") if unit.start else None)
            self._fit(unit, place, begin, [KeepAt(keep, place.path)] if keep else [])
            trained = agree(place.trained) or {}
        result = self._validated(unit.name)
        weights = dict(zip(self.judge.task_names(), trained.pop("weights"), strict=True))
        return result | {"kind": unit.kind, "steps": unit.steps, "weights": weights} | trained

    def copy(self, name: str, new_name: str) -> None:
        """Give a finished unit a second name."""
        first_only(shutil.rmtree)(self.unit_folder(new_name), ignore_errors=True)
        first_only(shutil.copytree)(self.unit_folder(name), self.unit_folder(new_name))
        agree(None)

    def state(self, name: str) -> State:
        """The parameters and buffers of a finished unit."""
        state: State = torch.load(self.checkpoint(name), map_location="cpu", weights_only=True)["state_dict"]
        return state

    def adopt(self, name: str, state: State, parent: str) -> dict[str, Any]:
        """Make `state` an ordinary checkpoint, like `parent`'s, and return its validation result."""
        place = UnitFolder(self.unit_folder(name))
        place.clear()
        content = torch.load(self.checkpoint(parent), map_location="cpu", weights_only=True)
        content["state_dict"] = state
        save_content(content, place.model)
        agree(None)
        return self._validated(name)

    def test(self, name: str) -> None:
        """Test a finished unit's model; the result is left in the unit's folder."""
        folder = self.unit_folder(name)
        parts = self._fresh(folder, [LoadState(self.state(name))])
        self.judge.test(parts.module, parts.data, parts.trainer, folder)
        agree(None)

    def callback(self, method: Method) -> PSSTCallback:
        """What weighs the losses of a unit."""
        return PSSTCallback(method=method, ema=self.ema)

    def _fit(self, unit: Unit, place: UnitFolder, begin: Path | None, more: list[Callback]) -> None:
        """Train, and leave model, trajectory and what else is known of the training."""
        method = instantiate(unit.method, Method)
        callback = self.callback(method)
        ending = StopAt(unit.stop)
        saving = Checkpoints(place.last, unit.name, self.checkpoint_every, callback)
        logger = CSVLogger(place.path, name="", version=_log_version(begin if begin == place.last else None))
        parts = self._fresh(place.path, [callback, ending, Watch(self.report), *more], logger)
        parts.trainer.callbacks.insert(0, saving)  # type: ignore[attr-defined]  # before any hook of the next step
        path = None if begin is None else str(begin)
        parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=path, weights_only=True)
        if parts.trainer.interrupted:
            raise KeyboardInterrupt
        ending.check(parts.trainer, unit.name)
        seconds = saving.seconds
        save_checkpoint(parts.trainer, place.model)
        first_only(callback.trajectory.save)(place.trajectory)
        place.finish(callback.mean_weights.tolist(), callback.unreachable, seconds)

    def _validated(self, name: str) -> dict[str, Any]:
        """Validate what is on disk, so that it does not matter which process has trained it."""
        folder = self.unit_folder(name)
        parts = self._fresh(folder, [LoadState(self.state(name))])
        return self.judge.validate(parts.module, parts.data, parts.trainer, folder)

    def _fresh(self, folder: Path, callbacks: list[Callback], logger: CSVLogger | None = None) -> "_Parts":
        max_steps = self.source.max_steps  # of the full training for each unit: schedules are made for it
        trainer = self.source.trainer(
            default_root_dir=str(folder),
            max_steps=max_steps,
            extra_callbacks=[*callbacks, *self.watching],
            without=PSSTCallback,  # the unit brings its own
            logger=logger or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            check_val_every_n_epoch=max_steps + 1,  # a unit is validated once, at its end
            num_sanity_val_steps=0,
        )
        check_ranks(trainer)
        module, data = self.source.module(), self.source.datamodule()
        self.judge.prepare(module, data)
        return _Parts(module, data, trainer)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Of one Lightning run."""

    module: LightningModule
    data: LightningDataModule
    trainer: Trainer


@first_only
def save_content(content: dict[str, Any], path: Path) -> None:
    """Write the content of a checkpoint, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _log_version(left: Path | None) -> str:
    """Name of the log's folder; what a unit logs after a checkpoint has its own, named by the step."""
    if left is None:
        return "log"
    step = torch.load(left, map_location="meta", weights_only=True)["global_step"]
    return f"log-{step}"


def _whole(path: Path) -> bool:
    """Whether a checkpoint, or arrays, are there to their end: both are zip archives, listed at the end."""
    return path.is_file() and zipfile.is_zipfile(path)


def _read(path: Path) -> str | None:
    """The text of a file; None if there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None
