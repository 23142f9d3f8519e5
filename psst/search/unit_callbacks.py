"""What the search asks of a unit's trainer."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from psst.search.explore import State

__all__ = ["LoadState", "StopAt"]


class LoadState(Callback):
    """Gives the module its parameters once it has been set up: only then some modules have their layers.

    Args:
        state: Of a finished unit, or an average.
    """

    def __init__(self, state: State) -> None:
        self._weights = state

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load."""
        pl_module.load_state_dict(self._weights)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load."""
        pl_module.load_state_dict(self._weights)


class StopAt(Callback):
    """Ends a fit after a number of optimizer steps, the trainer's `max_steps` being that of a full training.

    A learning rate schedule that asks the trainer for its length thus gets the same answer in every unit.

    Args:
        step: The last optimizer step, counted from the start of the warm start.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Ask the trainer to stop."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True

    def check(self, trainer: Trainer, name: str) -> None:
        """Raise ValueError if the fit has ended elsewhere: models of different lengths cannot be compared."""
        if trainer.global_step != self.step:
            raise ValueError(
                f"unit `{name}` ended at step {trainer.global_step} instead of {self.step}; remove what "
                "stops it (`EarlyStopping`, `max_epochs`, `max_time`), for all candidates train equally long."
            )
