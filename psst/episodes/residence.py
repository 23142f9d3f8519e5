"""Where a run keeps its images: in the memory map, or on the device, with batches that carry ids only."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from psst.episodes.reading import Reader, read_ids, read_images
from psst.episodes.tensors import TensorBatch
from psst.images.resident import ResidentImages, resident_images
from psst.images.store import ImageStore

_MAP, _AUTO = "map", "auto"


class Residence:
    """Decides once for a run, gives its loaders their reader and its batches their images.

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

    def reader(self, store: ImageStore, training_device: torch.device | None) -> Reader:
        """Return how loaders turn ids into images; without a trainer nobody could look ids up.

        Raises:
            ValueError: the device asked for is not here.
        """
        if training_device is None:
            return read_images
        if not self._decided:
            self._images, self._decided = self._load(store, training_device), True
        return read_images if self._images is None else read_ids

    def fill(self, batch: Any, device: torch.device) -> Any:
        """Return ``batch`` on ``device`` with images in place of ids; any other batch as it is."""
        images = self._images
        if images is None:
            return batch

        def read(ids: Tensor) -> Tensor:
            return images.read(ids).to(device)

        if isinstance(batch, TensorBatch) and batch.holds_ids:
            return batch.with_images(read)
        if isinstance(batch, Mapping) and "image" in batch and batch["image"].ndim == 1:
            return {**batch, "image": read(batch["image"])}
        return batch

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
