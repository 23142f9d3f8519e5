"""Where a checkpoint comes from: the run and the results that lie around it, and images of its data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]  # comes with jsonargparse
from torch import Tensor

from psst.datamodules import EpisodicDataModule
from psst.deploy.classifier import image_files
from psst.images.decode import decode_image
from psst.training.experiment import Experiment

_NEAR = (
    3  # folders above a checkpoint: SEARCH/best.ckpt, RUN/checkpoints/NAME.ckpt, SEARCH/units/NAME/NAME.ckpt
)
_IMAGES, _LEAST = 12, 6
_WAY_OUT = "name a folder of such images with `--images DIR`"


def origin_of(checkpoint: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return ``config.yaml`` of a checkpoint's run, and ``metrics.json`` beside ``best.ckpt``, or nothing."""
    configs = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:_NEAR]]
    config = next((path for path in configs if path.is_file()), None)
    metrics = checkpoint.with_name("metrics.json") if checkpoint.name == "best.ckpt" else None
    return _read(config), _read(metrics)


def images_of(config: Mapping[str, Any], shape: tuple[int, ...], folder: Path | None) -> Tensor:
    """Return up to twelve images ``[n, C, H, W]`` uint8 of a folder, or of the test classes of a run.

    Raises:
        ValueError: There are fewer than six, the run is not known, its data cannot be read, or are of
            another shape.
    """
    if folder is not None:
        files = image_files(folder)[:_IMAGES]
        pixels = [decode_image(file.read_bytes(), str(file), shape[1], shape[0]) for file in files]
        images = np.ascontiguousarray(np.moveaxis(np.stack(pixels), -1, 1))
    elif config.get("data"):
        images = _test_images(config["data"])
    else:
        raise ValueError(f"no config.yaml of a run lies around the checkpoint; {_WAY_OUT}.")
    if images.shape[1:] != shape or len(images) < _LEAST:
        raise ValueError(
            f"graphs are compared on at least {_LEAST} images of {list(shape)}, found {len(images)} of "
            f"{list(images.shape[1:])}; {_WAY_OUT}."
        )
    return torch.from_numpy(images)


def _test_images(description: Mapping[str, Any]) -> Any:
    try:
        data = Experiment([f"--data={json.dumps(description)}"], needs_model=False).datamodule()
        assert isinstance(data, EpisodicDataModule)  # FewShotModule trains on no others
        data.prepare_data(check=False)
        store = data.open_store()
    except (OSError, ValueError) as error:
        raise ValueError(f"the data of the run cannot be read ({error}); {_WAY_OUT}.") from error
    ids = store.split_ids("test" if len(store.splits["test"]) else "train")
    return store.read(ids[np.linspace(0, len(ids) - 1, _IMAGES).astype(int)])


def _read(path: Path | None) -> Mapping[str, Any]:
    """A YAML or JSON file; nothing where there is none, or it is damaged: a checkpoint is of use without."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path and path.is_file() else None
    except (ValueError, yaml.YAMLError):
        content = None
    return content if isinstance(content, Mapping) else {}
