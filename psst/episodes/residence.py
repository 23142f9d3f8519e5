"""Where a run keeps its images: in the memory map, or on the device, with batches that carry ids only."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psst.episodes.batch import Batch
from psst.images.store import ImageStore

_MAP, _AUTO = "map", "auto"
_SHARE = 0.25  # of a GPU's free memory, that images take at most by themselves
_CHUNK = 2**26  # bytes copied at a time


class Residence:
    """Decides once for a run whether batches carry pixels, and looks up those of batches that do not.

    Args:
        device: ``auto``: on the device that trains if that is a GPU with room, else in the memory map, which
            all processes share; ``map``: in the map; a device such as ``cuda``: in its memory in any case.

    Raises:
        ValueError: ``device`` is none of these.
    """

    def __init__(self, device: str) -> None:
        try:
            _ = device in (_MAP, _AUTO) or torch.device(device)
        except RuntimeError as error:
            raise ValueError(
                f"`data.init_args.device={device}` is no device; use `auto`, `map`, `cpu`, `cuda`, `cuda:1`."
            ) from error
        self.device = device
        self._images: Tensor | None = None
        self._decided = False

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, "_images": None, "_decided": False}  # another process decides anew

    def needs_pixels(self, store: ImageStore, training_device: torch.device | None) -> bool:
        """Return whether loaders have to read pixels; without a trainer nobody could look ids up.

        Raises:
            ValueError: the device asked for is not here.
        """
        if training_device is None:
            return True
        if not self._decided:
            self._images, self._decided = self._load(store, training_device), True
        return self._images is None

    def fill(self, batch: Batch, device: torch.device) -> Batch:
        """Return ``batch`` with the pixels that it lacks, on ``device``."""
        if batch.pixels is not None or self._images is None:
            return batch
        ids = batch.ids.to(self._images.device, non_blocking=True)
        return replace(batch, pixels=self._images.index_select(0, ids).to(device))

    def release(self) -> None:
        """Free the memory; the next loader decides anew."""
        self._images, self._decided = None, False

    def _load(self, store: ImageStore, training_device: torch.device) -> Tensor | None:
        if self.device == _AUTO:
            fits = training_device.type == "cuda" and _fits(store, training_device)
            return _copied(store, training_device) if fits else None
        if self.device == _MAP:
            return None
        try:
            return _copied(store, self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or no room on it
            raise ValueError(
                f"`data.init_args.device={self.device}` cannot hold the images "
                f"({store.images.nbytes / 2**20:.0f} MiB): {error}; set it to `auto` or `map`."
            ) from error


def _fits(store: ImageStore, device: torch.device) -> bool:
    return store.images.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]


def _copied(store: ImageStore, device: torch.device | str) -> Tensor:
    """Return all images, ``[n, C, H, W]`` uint8, on a device."""
    images = torch.empty((len(store), *store.image_shape), dtype=torch.uint8, device=device)
    step = max(1, _CHUNK // math.prod(store.image_shape))
    for start in range(0, len(store), step):
        ids = np.arange(start, min(start + step, len(store)))
        images[start : start + step] = torch.from_numpy(store.read(ids))
    return images
