"""An exported encoder: a folder with ``model.safetensors`` and ``config.json``; without Lightning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from psst.backbones import Backbone
from psst.components import instantiate
from psst.files import read_json

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_KEYS = ("backbone", "image_shape", "mean", "std")


class Encoder(nn.Module):
    """Backbone with its preprocessing inside.

    Args:
        backbone: A built backbone.
        image_shape: ``(C, H, W)`` of the images it was trained on.
        mean: Per channel, of images in [0, 1].
        std: As ``mean``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, image_shape: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_shape = tuple(image_shape)
        for name, values in (("mean", mean), ("std", std)):
            per_channel = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, per_channel, persistent=False)

    @property
    def num_features(self) -> int:
        """Length of a feature vector."""
        return int(self.backbone.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[n, D]`` features.

        Args:
            images: ``[n, C, H, W]``, uint8 in [0, 255] or floating in [0, 1].

        Raises:
            ValueError: Other channels, height or width than the encoder was made for.
            TypeError: Neither uint8 nor floating.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            law = f"[n, {', '.join(map(str, self.image_shape))}]"
            raise ValueError(f"`images` must be {law}, got {list(images.shape)}; resize them.")
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        elif not images.is_floating_point():
            raise TypeError(f"`images` must be uint8 or floating in [0, 1], got {images.dtype}.")
        features: Tensor = self.backbone((images - self.mean) / self.std)
        return features


def load_encoder(folder: str | Path) -> Encoder:
    """Rebuild the encoder that `psst export` wrote to ``folder``, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: The folder, or a file of the export, is missing.
        ValueError: A file is damaged, of another kind, or of a newer format.
    """
    folder = Path(folder)
    config = _read_config(folder)
    backbone = instantiate(config["backbone"], Backbone)  # type: ignore[type-abstract]
    backbone.build(tuple(config["image_shape"]))
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"`{folder}` is not a complete export: {WEIGHTS} is missing; export again.")
    try:
        backbone.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"`{path}` does not hold what {CONFIG} describes ({error}); export again."
        ) from error
    return Encoder(backbone, config["image_shape"], config["mean"], config["std"]).eval()


def _read_config(folder: Path) -> dict[str, Any]:
    """Read and check the ``config.json`` of an export."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"`{folder}` is no export: {CONFIG} is missing; write one with `psst export`."
        )
    config = read_json(path, FORMAT, "the config of an export")
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f"`{path}` is no config of an export, {missing} are missing; export again.")
    return config
