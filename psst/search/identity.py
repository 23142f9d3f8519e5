"""What a run is, in plain values: by these a search knows that it goes on with the same one."""

import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.nn.parameter import is_lazy

__all__ = ["described", "identity", "lazy"]


def identity(module: LightningModule, data: LightningDataModule) -> dict[str, Any]:
    """Return the classes of module and data, and the module's hyperparameters and shapes."""
    state = module.state_dict()
    return {
        "module": path_of(module),
        "hparams": described(dict(module.hparams)),
        "shapes": {name: str(list(value.shape)) for name, value in state.items() if not lazy(value)},
        "datamodule": path_of(data),
    }


def described(value: object) -> Any:
    """Return a value as JSON holds it; objects as their text, or as their class where that is an address."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return described(asdict(value))
    text = repr(value)
    return path_of(value) if re.search(r" at 0x[0-9a-fA-F]+", text) else text


def path_of(thing: object) -> str:
    """Return the import path of an object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def lazy(value: Tensor) -> bool:
    """Whether a parameter has no shape yet."""
    return is_lazy(value)
