"""An exported encoder: a folder with ``model.safetensors`` and ``config.json``; without Lightning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from psst.backbones.adapted import Adapted
from psst.backbones.backbone import Backbone
from psst.backbones.encoder import Encoder
from psst.backbones.pretrained import Frozen
from psst.components import describe, instantiate
from psst.files import read_json, write_json

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_FROZEN = "frozen."


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


def write_encoder(encoder: Encoder, folder: Path, version: str) -> None:
    """Write ``model.safetensors`` and ``config.json`` into a folder; `version` of psst is for the reader."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in all_tensors(encoder).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes a private file
    backbone = describe(encoder.backbone)
    off = {"pretrained": False, "checkpoint_path": None}  # of a user's backbone too: the weights lie beside
    backbone["init_args"].update({key: off[key] for key in off if key in backbone["init_args"]})
    config = {
        "psst_version": version,
        "backbone": backbone,
        "image_shape": list(encoder.image_shape or ()),
        "mean": encoder.mean.tolist(),  # for the reader; the weights hold them too
        "std": encoder.std.tolist(),
        "num_features": encoder.num_features,
        "input": "uint8 [n, C, H, W] in [0, 255], or floating in [0, 1]; normalized inside",
    }
    if isinstance(encoder.backbone, Adapted) and encoder.backbone.source is not None:
        config["frozen"] = encoder.backbone.source.recipe  # its weights lie among the others
    write_json(folder / CONFIG, config, FORMAT)


def rebuild_encoder(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Encoder:
    """Make an encoder, in evaluation mode, of its description and `all_tensors`; nothing is fetched."""
    backbone = instantiate(config["backbone"], Backbone)
    if isinstance(backbone, Adapted):
        inner = {k.removeprefix(_FROZEN): value for k, value in tensors.items() if k.startswith(_FROZEN)}
        backbone.source = Frozen.rebuilt(config["frozen"], inner)
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
    return read_json(path, FORMAT, f"the config of an export `{path}`")
