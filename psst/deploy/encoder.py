"""An exported encoder: a folder with ``model.safetensors`` and ``config.json``; without Lightning."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from psst.backbones import Backbone, Encoder
from psst.components import instantiate

FORMAT, FORMAT_VERSION = "psst-encoder", 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
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
    encoder = Encoder(instantiate(config["backbone"], Backbone))
    encoder.build(config["image_shape"])
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"`{folder}` is not a complete export: {WEIGHTS} is missing; export again.")
    try:
        encoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"`{path}` does not hold what {CONFIG} describes ({error}); export again."
        ) from error
    return encoder.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the ``config.json`` of an export."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"`{folder}` is no export: {CONFIG} is missing; write one with `psst export`."
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, version = config["format"], int(config["format_version"])
        missing = [key for key in _KEYS if key not in config]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"`{path}` is not the config of an export ({error!r}); export again.") from error
    if kind != FORMAT or missing:
        raise ValueError(
            f"`{path}` is no config of an export: format {kind!r}, missing {missing}; export again."
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"`{path}` has format version {version}, this psst reads up to {FORMAT_VERSION}; "
            "upgrade psst-fewshot."
        )
    return config
