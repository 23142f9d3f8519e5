"""Runs one unit of a search as an ordinary Lightning run in its own folder."""

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from psst.callbacks import PSSTCallback
from psst.components import instantiate
from psst.files import atomic_path, read_json, write_atomic, write_json
from psst.pareto import Method
from psst.pareto.not_finite import NotFiniteError
from psst.search.progress import Report
from psst.search.protocols import Judge, Run, State
from psst.search.ranks import agree, check_ranks, first_only, save_checkpoint
from psst.search.unit import Unit
from psst.search.unit_callbacks import Checkpoints, LearningRate, LoadState, StopAt, UnitWeights, Watch

_FORMAT = 1
_FALLEN = 0.1  # of its peak: a schedule below that leaves nothing to fall


class UnitFolder:
    """``units/<name>``: unit.json says what is trained, the other files how far it has come.

    ``last.ckpt`` is there while a unit trains; ``training.json`` is written when it has been trained, after
    ``model.ckpt``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.ckpt"
        self.last = path / "last.ckpt"
        self.trajectory = path / "trajectory.npz"
        self._marker = path / "training.json"

    @first_only
    def open(self, key: str, content: object) -> None:
        """Keep what a unit with the same key has left here; else begin anew."""
        described = json.dumps({"key": key, "unit": content}, indent=1)
        path = self.path / "unit.json"
        if path.is_file() and path.read_text(encoding="utf-8") == described:
            for left in self.path.glob(".*"):  # unfinished writes
                left.unlink()
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        write_atomic(path, described)

    @property
    def checkpoint(self) -> Path | None:
        """From where the training goes on; None if it begins."""
        return self.last if _whole(self.last) else None

    @property
    def trained(self) -> dict[str, Any] | None:
        """What training has found; None if it has not come to its end, or its files are damaged."""
        if not (self._marker.is_file() and _whole(self.model)):
            return None
        try:
            return read_json(self._marker, _FORMAT, f"the record of a training `{self._marker}`")
        except ValueError:
            return None

    @first_only
    def finish(self, found: dict[str, Any]) -> None:
        """Note that the model is there."""
        write_json(self._marker, found, _FORMAT)
        self.last.unlink(missing_ok=True)


class UnitRunner:
    """Trains, averages, evaluates and tests the models of one search.

    Args:
        run: Gives modules, data and trainers.
        folder: Of the search.
        judge: Measures.
        report: Told how far a unit is.
        checkpoint_every: Optimizer steps.
        renewal_batches: That renew BatchNorm statistics of what is judged.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        judge: Judge,
        report: Report | None = None,
        checkpoint_every: int = 200,
        renewal_batches: int = 15,
    ) -> None:
        self.run = run
        self.folder = folder
        self.judge = judge
        self.report = report or (lambda folder, first, step: None)
        self.checkpoint_every = checkpoint_every
        self.renewal_batches = renewal_batches

    def unit_folder(self, name: str) -> Path:
        """Where the unit called `name` keeps its log, checkpoint and scores."""
        return self.folder / "units" / name

    def checkpoint(self, name: str) -> Path:
        """The unit's checkpoint."""
        return UnitFolder(self.unit_folder(name)).model

    def train(self, unit: Unit, key: str) -> dict[str, Any]:
        """Train a unit from where it was left or from its start, and return what was found.

        Raises:
            ValueError: What stops the training stops it elsewhere than at the unit's end, or the user's
                schedule has fallen too far for a look.
        """
        place = UnitFolder(self.unit_folder(unit.name))
        place.open(key, asdict(unit))
        trained, left = agree((place.trained, place.checkpoint))
        if trained is None:
            begin = left or (self.checkpoint(unit.parent) if unit.parent else None)
            try:
                found = self._fit(unit, place, begin)
            except NotFiniteError as error:
                return {"failed": str(error), "steps": unit.steps}
            if not all(value.isfinite().all() for value in self.state(unit.name).values()):
                return {"failed": "its weights are NaN or infinite", "steps": unit.steps}
            if unit.judged:
                self._renew(place, unit, _read_checkpoint(place.model))
            place.finish(found)
            trained = agree(place.trained) or {}
        return (self._validated(unit) if unit.judged else {}) | {"steps": unit.steps} | trained

    def average(self, unit: Unit, key: str, members: Sequence[str]) -> dict[str, Any]:
        """Average the models of some units, renew its BatchNorm statistics, and judge it.

        Args:
            unit: Its name, and the mixture and fold that its validation follows; a `parent` gives everything
                but the weights.
            key: Of the average.
            members: Names of the units.
        """
        place = UnitFolder(self.unit_folder(unit.name))
        place.open(key, [*members])
        if agree(place.trained) is None:
            content = _read_checkpoint(self.checkpoint(unit.parent or members[0]))
            content["state_dict"] = averaged([self.state(name) for name in members])
            self._renew(place, unit, content)
            place.finish({"seconds": 0.0})
            agree(None)
        return self._validated(unit) | {"steps": 0, "seconds": 0.0}

    def state(self, name: str) -> State:
        """The parameters and buffers of a finished unit."""
        state: State = _read_checkpoint(self.checkpoint(name))["state_dict"]
        return state

    def test(self, name: str, unit: Unit) -> None:
        """Test a finished unit's model; the result is left in the unit's folder."""
        self._measure(name, unit, self.judge.test)

    def _renew(self, place: UnitFolder, unit: Unit, content: dict[str, Any]) -> None:
        """Save the content of a checkpoint with BatchNorm statistics renewed."""
        content["state_dict"] = self.judge.renew(content["state_dict"], unit, self.renewal_batches)
        _save_content(content, place.model)

    def _validated(self, unit: Unit) -> dict[str, Any]:
        return self._measure(unit.name, unit, self.judge.validate) or {}

    def _measure(
        self, name: str, unit: Unit, how: Callable[..., dict[str, Any] | None]
    ) -> dict[str, Any] | None:
        folder = self.unit_folder(name)
        run = self.run.varied(unit.options)
        module, data = run.module(), run.datamodule()
        self.judge.prepare(module, data, unit)
        trainer = self.trainer(unit, folder, [LoadState(self.state(name))])
        found = how(module, data, trainer, folder)
        agree(None)
        return found

    def _fit(self, unit: Unit, place: UnitFolder, begin: Path | None) -> dict[str, Any]:
        """Train, leave the model, and return what else is known of the training."""
        run = self.run.varied(unit.options)
        module, data = run.module(), run.datamodule()
        names = self.judge.prepare(module, data, unit, begin != place.last)
        method = unit.mixture.described(names, self.judge.raw_tasks(), self.folder)
        weights = None if method is None else UnitWeights(unit.name, _made(method))
        ending = StopAt(unit.stop)
        saving = Checkpoints(place.last, unit.name, self.checkpoint_every, weights)
        stop = None if unit.falls is None else unit.stop
        rate = LearningRate(unit.falls or unit.start, stop, unit.rate)
        own = [*([] if weights is None else [weights]), ending, Watch(self.report), rate]
        logger = CSVLogger(place.path, name="", version=_log_version(begin if begin == place.last else None))
        trainer = self.trainer(unit, place.path, own, logger)
        trainer.callbacks.insert(0, saving)  # type: ignore[attr-defined]  # before any hook of the next step
        path = None if begin is None else str(begin)
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        ending.check(trainer, unit.name)
        save_checkpoint(trainer, place.model)
        told = _told(weights, names, place)
        return {"seconds": saving.seconds, "rates": [rate.now, rate.highest], **told}

    def trainer(
        self, unit: Unit, folder: Path, callbacks: list[Any], logger: CSVLogger | None = None
    ) -> Trainer:
        """Return a trainer for a unit, or for what judges it: nothing is validated or saved on the way."""
        trainer = self.run.varied(unit.options).trainer(
            default_root_dir=str(folder),
            max_steps=unit.horizon,
            extra_callbacks=callbacks,
            without=PSSTCallback,  # the unit brings its own
            logger=logger or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            check_val_every_n_epoch=unit.horizon + 1,  # a unit is validated once, at its end
            num_sanity_val_steps=0,
        )
        check_ranks(trainer)
        return trainer


def averaged(states: Sequence[State]) -> State:
    """Average state dicts, heads and floating-point buffers included; counters are taken from the first.

    References:
        Wortsman et al., Model soups, 2022 (arXiv:2203.05482). Ramé et al., Rewarded soups, 2023.
    """
    mixed: State = {}
    for key, first in states[0].items():
        if first.is_floating_point():
            total = torch.stack([state[key].double() for state in states]).mean(dim=0)
            mixed[key] = total.to(first.dtype)
        else:
            mixed[key] = first.clone()
    return mixed


def check_rates(rates: Sequence[float], unit: Unit) -> None:
    """Raise ValueError where a schedule of the user's has fallen so far that a look has nothing to let fall.

    Args:
        rates: Learning rate of the first group at the unit's end, and its largest so far.
        unit: A piece of the trunk.
    """
    now, peak = rates
    if now < _FALLEN * peak:
        raise ValueError(
            f"`model.init_args.scheduler` has the learning rate at {now:.2g} at step {unit.stop}, "
            f"below a tenth of its peak {peak:.2g}: a look that leaves the trunk there lets it fall and "
            "finds nothing to learn with. Leave the schedule out, or keep it high (a warm-up is welcome)."
        )


def _told(weights: UnitWeights | None, names: Sequence[str], place: UnitFolder) -> dict[str, Any]:
    """What the callback knows of the fit, and its trajectory as a file."""
    if weights is None:
        return {}
    try:
        trajectory = weights.trajectory
    except ValueError:
        return {"unreachable": weights.unreachable}
    first_only(partial(trajectory.save, place.trajectory))()
    losses = np.exp(trajectory.log_losses)
    return {
        "weights": dict(zip(names, weights.mean_weights.tolist(), strict=True)),
        "training": dict(zip(names, losses[-1].tolist(), strict=True)),
        "unreachable": weights.unreachable,
    }


def _made(method: dict[str, Any] | str) -> Method | str:
    return method if isinstance(method, str) else instantiate(method, Method)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


@first_only
def _save_content(content: dict[str, Any], path: Path) -> None:
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
    """Whether a checkpoint is there to its end: a zip archive, listed at the end."""
    return path.is_file() and zipfile.is_zipfile(path)
