"""Where a run keeps its images: in the memory map, or on the device, with batches that carry ids only."""

from dataclasses import replace
from typing import Any

import torch

from psst.episodes.batch import Batch
from psst.images.resident import ResidentImages, resident_images
from psst.images.store import ImageStore

_MAP, _AUTO = "map", "auto"


class Residence:
    """Decides once for a run whether batches carry pixels, and looks up those of batches that do not.

    Args:
        device: ``auto``: on the device that trains if that is a GPU with room, else in the memory map;
            ``map``: in the memory map; a device such as ``cuda`` or ``cpu``: in its memory in any case.

    Raises:
        ValueError: ``device`` is none of these.
    """

    def __init__(self, device: str) -> None:
        if device not in (_MAP, _AUTO):
            _parsed(device)
        self.device = device
        self._images: ResidentImages | None = None
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
        return replace(batch, pixels=self._images.read(batch.ids).to(device))

    def release(self) -> None:
        """Free the memory; the next loader decides anew."""
        self._images, self._decided = None, False

    def _load(self, store: ImageStore, training_device: torch.device) -> ResidentImages | None:
        if self.device == _MAP:
            return None
        if self.device == _AUTO:
            return resident_images(store, training_device)
        try:
            return ResidentImages(store, self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or no room on it
            raise ValueError(
                f"`data.init_args.device={self.device}` cannot hold the images "
                f"({store.images.nbytes / 2**20:.0f} MiB): {error}; set it to `auto` or `map`."
            ) from error


def _parsed(device: str) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"`data.init_args.device={device}` is no device; use `auto`, `map`, `cpu`, `cuda` or `cuda:1`."
        ) from error
