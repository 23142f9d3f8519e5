"""What can be known to fail before any unit is trained."""

import re
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from pytorch_lightning import LightningModule, Trainer

from psst.search.identity import lazy
from psst.search.python_run import PythonRun

__all__ = ["check_checkpoint_loads", "check_factory", "check_names"]


def check_factory(run: PythonRun) -> LightningModule:
    """Return a fresh module, proven by a second one to share nothing and to begin with the same parameters.

    Raises:
        TypeError: One is no LightningModule.
        ValueError: The two are one object, share a parameter or a buffer, or differ.
    """
    first, second = run.module(), run.module()
    if first is second:
        raise ValueError(
            "`module_factory` gave the same object twice, but each unit needs a module of its own; make it "
            "inside: `lambda: MyModule(...)`."
        )
    one, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (first, second))
    for name, value in one.items():
        twin = other.get(name)
        if any(value is tensor for tensor in other.values()):
            raise ValueError(
                f"`module_factory` gave two modules that share `{name}`, so that units would train each "
                "other's; make every layer inside the factory."
            )
        if twin is None or twin.shape != value.shape or not same(value, twin):
            raise ValueError(
                f"`module_factory` gave two modules that differ in `{name}`, though `seed={run.seed}` was "
                "set before each; draw parameters from torch's global generator."
            )
    return first


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two parameters are equal, or have no values yet."""
    if lazy(one) or lazy(other):
        return lazy(one) and lazy(other)
    return torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach()))


def check_names(names: Sequence[str], module: str) -> None:
    """Raise ValueError unless there are two losses or more, named as folders may be."""
    if len(names) < 2:
        raise ValueError(
            f"`losses` of {module} are {list(names)}: a search trades off at least two; return another one "
            'beside it from `training_step`: {"loss": ..., "losses": {"main": ..., "other": ...}}.'
        )
    for name in names:
        if not re.fullmatch(r"[\w .+-]+", name):
            raise ValueError(
                f"`losses['{name}']` of {module} names files and folders of the search; use letters, digits, "
                "`_`, `-` and `.` only."
            )


def check_checkpoint_loads(trainer: Trainer, path: Path) -> None:
    """Raise TypeError if what the module and callbacks put into a checkpoint is more than plain values."""
    trainer.save_checkpoint(path)
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        kind = type(trainer.lightning_module).__name__
        reason = str(error).split("Please file")[0].strip().splitlines()[-1].strip()
        raise TypeError(
            f"a checkpoint of {kind} cannot be read with `weights_only=True` ({reason}); keep objects out "
            "of it: `self.save_hyperparameters(ignore=[...])`."
        ) from error
