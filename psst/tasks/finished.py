"""A finished model as its checkpoint describes it, without Lightning."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from psst.backbones import Backbone, Encoder, Setup
from psst.components import instantiate
from psst.tasks.task import MainTask

_DAMAGE = pickle.PickleError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError
_DESCRIBED = ("backbone", "main", "auxiliary", "image_shape", "classes")


@dataclass(frozen=True)
class Finished:
    """The parts of a trained FewShotModule that are of use to others, in evaluation mode on the CPU."""

    encoder: Encoder
    main: Any
    classes: tuple[str, ...]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a FewShotModule, no code of it; FileNotFoundError or ValueError if it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is not a file; name a checkpoint such as RUN/best.ckpt.")
    way_out = "name a checkpoint that psst wrote"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
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
        parts = nn.ModuleDict({"encoder": encoder, "main": main})
        parts.load_state_dict({k: v for k, v in state.items() if k.startswith(("encoder.", "main."))})
    except RuntimeError as error:
        raise ValueError(f"`{path}` does not hold the parameters that it describes ({error}).") from error
    return Finished(encoder.eval(), main.eval(), classes)
