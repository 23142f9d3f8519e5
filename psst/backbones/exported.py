"""An exported encoder: a folder with ``model.safetensors`` and ``config.json``; without Lightning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from psst.backbones.adapted import Adapted
from psst.backbones.backbone import Backbone
from psst.backbones.encoder import Encoder
from psst.backbones.pretrained import rebuild_frozen
from psst.components import instantiate
from psst.files import read_json

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_FROZEN = "frozen."
_KEYS = ("backbone", "image_shape")


def load_encoder(folder: str | Path) -> Encoder:
    """Rebuild the encoder that `psst export` wrote to ``folder``, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: The folder, or a file of the export, is missing.
        ValueError: A file is damaged, of another kind, or of a newer format.

    Example:
        >>> features = load_encoder("encoder")(images)  # uint8 [n, C, H, W] to [n, D]
    """
    folder = Path(folder)
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"`{folder}` is not a complete export: {WEIGHTS} is missing; export again.")
    try:
        return rebuild_encoder(config, load_file(path))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"`{path}` does not hold what {CONFIG} describes ({error}); export again."
        ) from error


def rebuild_encoder(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Encoder:
    """Make an encoder, in evaluation mode, of its description and `all_tensors`; nothing is fetched."""
    backbone = instantiate(config["backbone"], Backbone)
    if isinstance(backbone, Adapted):
        inner = {k.removeprefix(_FROZEN): value for k, value in tensors.items() if k.startswith(_FROZEN)}
        backbone.source = rebuild_frozen(config["frozen"], inner)
    encoder = Encoder(backbone)
    encoder.build(config["image_shape"])
    encoder.load_state_dict({k: value for k, value in tensors.items() if not k.startswith(_FROZEN)})
    return encoder.eval()


def all_tensors(encoder: Encoder) -> dict[str, Tensor]:
    """Return the state of an encoder and, below ``frozen.``, that of its frozen network."""
    source = encoder.backbone.source if isinstance(encoder.backbone, Adapted) else None
    inner = {} if source is None else source.tensors()
    return {**encoder.state_dict(), **{_FROZEN + name: value for name, value in inner.items()}}


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the ``config.json`` of an export."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"`{folder}` is no export: {CONFIG} is missing; write one with `psst export`."
        )
    config = read_json(path, FORMAT, f"the config of an export `{path}`")
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f"`{path}` is no config of an export, {missing} are missing; export again.")
    return config
