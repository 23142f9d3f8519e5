"""An exported encoder: a folder with ``model.safetensors`` and ``config.json``; without Lightning."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from psst.backbones import Backbone, Encoder
from psst.components import instantiate
from psst.files import read_json

FORMAT = 1
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
    config = _read_config(folder)
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


def _read_config(folder: Path) -> dict[str, Any]:
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
