"""Reads checkpoints of `FewShotModule`, and says clearly when a file is something else."""

import pickle
from pathlib import Path
from typing import Any

import torch

from psst.training import FewShotModule

_PARTS = ("backbone", "head", "auxiliary")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint of a FewShotModule.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is not a file; name a checkpoint such as RUN/best.ckpt.")
    way_out = "name a checkpoint that psst wrote"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"`{path}` is no checkpoint of tensors and plain values ({type(error).__name__}); {way_out}."
        ) from error
    found = content.get("hyper_parameters", {}) if isinstance(content, dict) else {}
    missing = [part for part in _PARTS if part not in found]
    if missing or "state_dict" not in content:
        raise ValueError(
            f"`{path}` is no checkpoint of a FewShotModule: it describes no {', '.join(missing)}; {way_out}."
        )
    return dict(content)


def load_module(path: Path) -> FewShotModule:
    """Rebuild the module of a checkpoint on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint of a FewShotModule, or its parameters do not fit its description.
    """
    read_checkpoint(path)
    try:
        module = FewShotModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise ValueError(f"`{path}` does not hold the parameters it describes ({error}).") from error
    return module.eval()
