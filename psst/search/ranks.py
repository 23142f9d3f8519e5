"""Several ranks train a unit together: each of them runs the whole search, and the first one writes.

Lightning starts the command again for each further rank when the first trainer runs. What was decided before
is read from the files that the first rank has written; from then on it tells the others what it has found.
Whatever writes or prints is wrapped in `first_only`: nothing else in the search asks for its rank.
"""

from pathlib import Path
from typing import TypeVar

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import distributed

from psst.files import atomic_path

_T = TypeVar("_T")

first_only = rank_zero_only  # only the first rank carries out what it wraps; the others get None


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
