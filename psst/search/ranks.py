"""Several ranks train a unit together: each of them runs the whole search, and the first one writes.

Lightning starts the command again for each further rank when the first trainer runs. What was decided before
is read from the files that the first rank has written; from then on it tells the others what it has found.
Whatever writes or prints is wrapped in `first_only`: nothing else in the search asks for its rank.
"""

from multiprocessing import parent_process
from pathlib import Path
from typing import TypeVar

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from pytorch_lightning.utilities import rank_zero_only
from torch import distributed

from psst.files import atomic_path

_T = TypeVar("_T")

first_only = rank_zero_only
"""Makes of a function one that only the first rank carries out; the others get None."""


def agree(value: _T) -> _T:
    """Return the first rank's value, once all ranks are here."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """Save a checkpoint whole or not at all; all ranks take part, and it is there when they go on."""
    if trainer.is_global_zero:
        with atomic_path(path) as temporary:
            trainer.save_checkpoint(temporary)
    else:
        trainer.save_checkpoint(path)  # collects; the first rank's trainer writes
    trainer.strategy.barrier()


def check_ranks(trainer: Trainer) -> None:
    """Refuse ranks that could not tell what they have found; let tasks rest, whose heads get no gradient.

    Raises:
        ValueError: The strategy starts its ranks for one fit only, or workers would start ranks.
    """
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
