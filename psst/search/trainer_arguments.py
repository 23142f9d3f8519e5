"""What a search leaves to the user's Trainer, and what it sets itself."""

import inspect
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer

__all__ = ["check_arguments"]

RESERVED = {
    "max_steps": "give `max_steps=` to `psst.search`",
    "max_epochs": "`max_steps` sets the length of each unit",
    "min_epochs": "`max_steps` sets the length of each unit",
    "min_steps": "`max_steps` sets the length of each unit",
    "max_time": "all candidates must train equally long",
    "fast_dev_run": "give a small `max_steps` instead",
    "default_root_dir": "`output` holds everything",
    "logger": "each unit logs to its own folder",
    "enable_checkpointing": "each unit keeps the model of its last step",
    "enable_progress_bar": "the search reports for its units",
    "enable_model_summary": "the search reports for its units",
    "check_val_every_n_epoch": "each unit is validated once, at its end",
    "val_check_interval": "each unit is validated once, at its end",
    "num_sanity_val_steps": "the search validates an untrained module once, before it begins",
    "overfit_batches": "a front of models fitted to a few batches chooses nothing; give less data",
    "barebones": "the search needs what it switches off",
    "inference_mode": "measurements need `torch.no_grad`",
}


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Hold the user's arguments against what the Trainer takes and what the search sets.

    Raises:
        TypeError: The Trainer knows no such argument.
        ValueError: The search sets it.
    """
    known = inspect.signature(Trainer).parameters
    for name in arguments:
        if name in RESERVED:
            raise ValueError(f"`trainer={{'{name}': ...}}` is set by the search: {RESERVED[name]}.")
        if name not in known:
            raise TypeError(f"`trainer={{'{name}': ...}}` is no argument of the Trainer; see its signature.")
