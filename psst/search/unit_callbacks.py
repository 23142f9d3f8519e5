"""What a search asks of a unit's trainer: checkpoints, news, where it ends, and the state it begins with.

From a checkpoint in the middle of a unit it ends bit for bit as if it had never stopped.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from psst.callbacks import PSSTCallback
from psst.pareto import Method
from psst.search.progress import write_progress
from psst.search.ranks import save_checkpoint

_DECAY = 0.95  # largest of the losses' running means in a unit: branches are short
_PAUSE = 0.3  # seconds between two words about how far a unit is


class UnitCheckpoints(Callback):
    """Saves everything a unit's training consists of, every so many optimizer steps.

    Each checkpoint is taken when the next batch is about to be trained on: all hooks of the step before have
    run, its window of accumulated batches is closed, and so there is none at a unit's end. Where a schedule
    waits for a metric of the epoch, whose parts no checkpoint holds, it is taken between epochs. What
    `memory` knows of a fit, its trajectory and mean weights, is handed back to the same unit only.
    """

    def __init__(self, path: Path, unit: str, every: int, memory: PSSTCallback | None) -> None:
        self.path = path
        self.unit = unit
        self.every = every
        self.memory = memory
        self._earlier = 0.0  # seconds of training before the checkpoint that this fit goes on from
        self._began = time.monotonic()
        self._saved_at = 0
        self._saving = False
        self._resumed = False

    @property
    def seconds(self) -> float:
        """Of training, summed over the pieces of the unit."""
        return self._earlier + time.monotonic() - self._began

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step at which this fit starts."""
        self._saved_at = trainer.global_step
        if self._resumed:  # else Lightning leaves out what a schedule does at the end of this epoch
            trainer.fit_loop._restarting = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save, if a checkpoint is due and everything before this batch is done."""
        due = trainer.global_step // self.every > self._saved_at // self.every
        waits = any(schedule.reduce_on_plateau for schedule in trainer.lr_scheduler_configs)
        window = trainer.num_training_batches if waits else trainer.accumulate_grad_batches
        if due and batch_idx % window == 0:
            self._saved_at, self._saving = trainer.global_step, True
            try:
                save_checkpoint(trainer, self.path)
            finally:
                self._saving = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take back the batch that is counted as ready but has not been trained on."""
        if self._saving:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            for counters in (progress["total"], progress["current"]):
                counters["ready"] = counters["completed"]
            progress["is_last_batch"] = False

    def state_dict(self) -> dict[str, Any]:
        """What belongs to this fit alone; nothing in checkpoints that others start from."""
        if not self._saving:
            return {}
        fit = None if self.memory is None else self.memory.fit_state()
        return {"unit": self.unit, "seconds": self.seconds, "fit": fit}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the same unit's fit."""
        if state_dict.get("unit") == self.unit:
            self._resumed = True
            self._earlier = float(state_dict["seconds"])
            if self.memory is not None:
                self.memory.continue_fit(state_dict["fit"])


class UnitWeights(PSSTCallback):
    """Weighs the losses of one unit; what the parent's callback has left is not for it."""

    def __init__(self, unit: str, method: Method | str) -> None:
        super().__init__(method, ema=_DECAY)
        self._unit = unit

    @property
    def state_key(self) -> str:
        """Under which its state is found again by the same unit only."""
        return f"psst.search.UnitWeights {self._unit}"


class LearningRate(Callback):
    """A factor on the learning rates that the user's optimizer and schedule give, in force during each step.

    It is `peak` until optimizer step `start`, and falls to zero at `stop`, linearly; None leaves it there.
    `now` is the first group's rate in the last step, without the factor, `highest` its largest value so far,
    what came before in the trunk included.
    """

    def __init__(self, start: int, stop: int | None = None, peak: float = 1.0) -> None:
        self.start, self.stop, self.peak = start, stop, peak
        self.now = self.highest = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stand round every step of this fit's optimizers; schedules never see the factor."""
        for optimizer in trainer.optimizers:
            kept: list[float] = []
            optimizer.register_step_pre_hook(partial(self._before, trainer, kept))
            optimizer.register_step_post_hook(partial(self._after, kept))

    def state_dict(self) -> dict[str, Any]:
        """The largest rate, for those that go on from here."""
        return {"highest": self.highest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it."""
        self.highest = float(state_dict["highest"])

    def factor(self, step: int) -> float:
        """Of an optimizer step."""
        if self.stop is None:
            return self.peak
        share = (self.stop - step) / max(self.stop - self.start, 1)
        return self.peak * min(max(share, 0.0), 1.0)

    def _before(self, trainer: Trainer, kept: list[float], optimizer: Any, *_: Any) -> None:
        factor = self.factor(trainer.global_step)
        kept[:] = [float(group["lr"]) for group in optimizer.param_groups]
        self.now, self.highest = kept[0], max(self.highest, kept[0])
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def _after(self, kept: list[float], optimizer: Any, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] = rate


class StopAt(Callback):
    """Ends a fit after a number of optimizer steps, and leaves in the unit's folder how far it is.

    The trainer's `max_steps` is that of a full training, for schedules that ask for its length.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._first, self._told = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell where the fit begins or goes on."""
        self._first = trainer.global_step
        self._tell(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Tell, if it is time to; ask the trainer to stop."""
        if time.monotonic() - self._told >= _PAUSE:
            self._tell(trainer)
        if trainer.global_step >= self.step:
            trainer.should_stop = True

    def check(self, trainer: Trainer, name: str) -> None:
        """Raise ValueError if the fit has ended elsewhere: models of different lengths cannot be compared."""
        if trainer.global_step != self.step:
            raise ValueError(
                f"unit `{name}` ended at step {trainer.global_step} instead of {self.step}; remove what "
                "stops it (`EarlyStopping`, `max_epochs`, `max_time`), for all candidates train equally long."
            )

    def _tell(self, trainer: Trainer) -> None:
        self._told = time.monotonic()
        write_progress(Path(trainer.default_root_dir), self._first, trainer.global_step)
