"""A finished model as its checkpoint describes it, without Lightning."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from psst.backbones import Backbone, Encoder, Setup
from psst.components import instantiate
from psst.tasks.task import MainTask

_DESCRIBED = ("backbone", "main", "auxiliary", "image_shape", "classes")


@dataclass(frozen=True)
class Finished:
    """The parts of a trained FewShotModule that are of use to others, in evaluation mode on the CPU.

    Attributes:
        encoder: Normalization and backbone.
        main: The main task, with its head.
        classes: Names of the training classes.
    """

    encoder: Encoder
    main: Any
    classes: tuple[str, ...]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a FewShotModule without running any code of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is not a file; name a checkpoint such as RUN/best.ckpt.")
    way_out = "name a checkpoint that psst wrote"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.PickleError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        OSError,
    ) as error:
        raise ValueError(
            f"`{path}` is no checkpoint of tensors and plain values ({type(error).__name__}); {way_out}."
        ) from error
    found = content.get("hyper_parameters") if isinstance(content, dict) else {}
    missing = [part for part in _DESCRIBED if not isinstance(found, dict) or part not in found]
    state = content.get("state_dict") if not missing else {}
    missing += [] if state and isinstance(state, dict) else ["state_dict"]
    if missing:
        raise ValueError(
            f"`{path}` is no checkpoint of a FewShotModule: it describes no {', '.join(missing)}; {way_out}."
        )
    for name, values in state.items():
        if not isinstance(values, Tensor) or not values.isfinite().all():
            raise ValueError(f"`{name}` of `{path}` is NaN or infinite in places, or no tensor; {way_out}.")
    return dict(content)


def read_finished(path: Path) -> Finished:
    """Rebuild encoder and main task of a checkpoint; raises as `read_checkpoint` does."""
    content = read_checkpoint(path)
    described, state = content["hyper_parameters"], content["state_dict"]
    encoder = Encoder(instantiate(described["backbone"], Backbone))
    encoder.build(described["image_shape"])
    main = instantiate(described["main"], MainTask)
    classes = tuple(described["classes"])
    main.build(Setup(encoder, classes))
    try:
        encoder.load_state_dict(_below("encoder.", state))
        main.load_state_dict(_below("main.", state))
    except RuntimeError as error:
        raise ValueError(f"`{path}` does not hold the parameters that it describes ({error}).") from error
    return Finished(encoder.eval(), main.eval(), classes)


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
