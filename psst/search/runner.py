"""Makes one unit of a search as an ordinary Lightning run in its own folder."""

from collections.abc import Sequence
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher

from psst.callbacks import PSSTCallback
from psst.files import atomic_path
from psst.pareto.not_finite import NotFiniteError
from psst.search.judge import Judge, Stage, State
from psst.search.ranks import agree, first_only, save_checkpoint
from psst.search.record import UnitFolder, unit_path
from psst.search.settings import SearchSettings
from psst.search.unit import Unit
from psst.search.unit_callbacks import LearningRate, StopAt, UnitCheckpoints, UnitWeights

if TYPE_CHECKING:
    from psst.search.examples import Told


class UnitRunner:
    """Trains, averages, judges and tests the models of one search; it can be sent to other processes."""

    def __init__(self, judge: Judge, settings: SearchSettings, folder: Path) -> None:
        self.judge, self.settings, self.folder = judge, settings, folder

    def checkpoint(self, name: str) -> Path:
        """Of the unit called `name`."""
        return unit_path(self.folder, name) / "model.ckpt"

    def do(self, unit: Unit) -> dict[str, Any]:
        """Make a unit, from where it was left or from its start; keep what came of it, and return it."""
        place = UnitFolder(self.folder, unit)
        place.open()
        agree(None)
        try:
            if unit.test:
                found = self._measured(unit, place, "test")
            elif unit.members:
                found = {**self._averaged(unit, place), "seconds": 0.0}
            else:
                found = self._trained(unit, place)
        except NotFiniteError as error:
            found = {"failed": str(error)}
        result = {**found, "steps": unit.steps, "passes": unit.passes}
        place.finish(result)
        return agree(result)

    def told(self, unit: Unit) -> "Told | None":
        """What a finished unit tells of test classes, query by query, on the trainer's device."""
        device = self.trainer(unit, unit_path(self.folder, unit.name), []).strategy.root_device
        return self.judge.told(unit, self._content(unit.name)["state_dict"], device)

    def trainer(
        self, unit: Unit, folder: Path, callbacks: list[Any], logger: CSVLogger | None = None
    ) -> Trainer:
        """Return a trainer for a unit, or for what judges it: nothing is validated or saved on the way."""
        trainer: Trainer = self.judge.run.varied(unit.setting.options).trainer(
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
        _check_ranks(trainer)
        return trainer

    def _trained(self, unit: Unit, place: UnitFolder) -> dict[str, Any]:
        begin = agree(place.checkpoint) or (self.checkpoint(unit.parent) if unit.parent else None)
        found = self._fit(unit, place, begin)
        content = self._content(unit.name)
        if not all(value.isfinite().all() for value in content["state_dict"].values()):
            raise NotFiniteError("its weights are NaN or infinite")
        return found | self._judged(unit, place, content) if unit.judged else found

    def _averaged(self, unit: Unit, place: UnitFolder) -> dict[str, Any]:
        """Average the models of its members; a parent gives everything but the weights."""
        content = self._content(unit.parent or unit.members[0])
        content["state_dict"] = averaged([self._content(name)["state_dict"] for name in unit.members])
        return self._judged(unit, place, content)

    def _judged(self, unit: Unit, place: UnitFolder, content: dict[str, Any]) -> dict[str, Any]:
        """Renew the BatchNorm statistics of a checkpoint's content, save it, and validate."""
        state = content["state_dict"]
        if any(name.endswith("running_mean") for name in state):
            state = self.judge.renew(state, unit, self.settings.renewal_batches)
        _save_content({**content, "state_dict": state}, place.model)
        agree(None)
        return self._measured(unit, place, "val")

    def _measured(self, unit: Unit, place: UnitFolder, stage: Stage) -> dict[str, Any]:
        module, data, _ = self.judge.fresh(unit)
        return self.judge.measure(module, data, self.trainer(unit, place.path, []), place.model, stage)

    def _fit(self, unit: Unit, place: UnitFolder, begin: Path | None) -> dict[str, Any]:
        """Train, leave the model, and return what else is known of the training."""
        module, data, names = self.judge.fresh(unit, begin != place.last)
        method = unit.mixture.weighing(names, self.judge.raw_tasks(), self.folder)
        weights = None if method is None else UnitWeights(unit.name, method)
        ending = StopAt(unit.stop)
        saving = UnitCheckpoints(place.last, unit.name, self.settings.checkpoint_every, weights)
        start, stop = (unit.start, None) if unit.falls is None else (unit.falls, unit.stop)
        rate = LearningRate(start, stop, unit.setting.rate)
        own = [*([] if weights is None else [weights]), ending, rate]
        trainer = self.trainer(unit, place.path, own, CSVLogger(place.path, name=""))
        trainer.callbacks.insert(0, saving)  # type: ignore[attr-defined]  # before any hook of the next step
        path = None if begin is None else str(begin)
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        ending.check(trainer, unit.name)
        save_checkpoint(trainer, place.model)
        told = {} if weights is None else _told(weights, names, place.path / "trajectory.npz")
        return {"seconds": saving.seconds, "rates": [rate.now, rate.highest], **told}

    def _content(self, name: str) -> dict[str, Any]:
        """Of a finished unit's checkpoint."""
        content: dict[str, Any] = torch.load(self.checkpoint(name), map_location="cpu", weights_only=True)
        return content


def _check_ranks(trainer: Trainer) -> None:
    """Refuse ranks that could not tell what they have found; let tasks rest, whose heads get no gradient."""
    if trainer.world_size == 1:
        return
    if isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ValueError(
            "`trainer.strategy` starts processes for one fit only, and what a search learns in them would be "
            "lost; use `ddp`."
        )
    if parent_process() is not None:
        raise ValueError(
            f"`workers` train one unit each, but `trainer.devices` makes {trainer.world_size} processes of a "
            "unit; set `trainer.devices` to 1, or have one worker."
        )


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


def _told(weights: UnitWeights, names: Sequence[str], path: Path) -> dict[str, Any]:
    """What the callback knows of the fit, and its trajectory as a file."""
    try:
        trajectory = weights.trajectory
    except ValueError:
        return {}  # a loss without a logarithm
    first_only(partial(trajectory.save, path))()
    losses = np.exp(trajectory.log_losses)
    return {
        "weights": dict(zip(names, weights.mean_weights.tolist(), strict=True)),
        "training": dict(zip(names, losses[-1].tolist(), strict=True)),
    }


@first_only
def _save_content(content: dict[str, Any], path: Path) -> None:
    """Write the content of a checkpoint, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
