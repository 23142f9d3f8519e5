"""Where a run keeps its images: in the memory map, or on the device, with batches that carry ids only."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from psst.episodes.batch import Batch
from psst.images.store import ImageStore

_SHARE = 0.25  # of a GPU's free memory, that images take at most by themselves


class Residence:
    """Decides once for a run whether batches carry pixels, and looks up those of batches that do not.

    ``auto``: on the device that trains if that is a GPU with room, else in the memory map, which all
    processes share; ``map``: in the map; a device such as ``cuda``: in its memory in any case.
    """

    def __init__(self, device: str) -> None:
        try:
            _ = device in ("map", "auto") or torch.device(device)
        except RuntimeError as error:
            raise ValueError(
                f"`data.init_args.device={device}` is no device; use `auto`, `map`, `cpu`, `cuda`, `cuda:1`."
            ) from error
        self.device = device
        self.release()

    def release(self) -> None:
        """Free the memory; the next loader decides anew."""
        self._held: Any = None
        self._decided = False

    def needs_pixels(self, store: ImageStore, training_device: torch.device | None) -> bool:
        """Return whether loaders have to read pixels; raises as `hold` does."""
        planes = np.moveaxis(store.images, -1, 1)  # [n, C, H, W], as they lie in the file
        return self.hold(planes.nbytes, partial(torch.tensor, planes), training_device) is None

    def hold(self, nbytes: int, copied: Callable[..., Any], training_device: torch.device | None) -> Any:
        """Return what a run keeps on a device, ``copied`` at the first call; None where it stays in the map.

        ValueError if the device asked for is not here, or has no room.
        """
        if training_device is None:  # nobody could look anything up
            return None
        if not self._decided and self._wanted(nbytes, training_device):
            try:
                self._held = copied(device=training_device if self.device == "auto" else self.device)
            except (RuntimeError, AssertionError) as error:  # no such device, or no room on it
                raise ValueError(
                    f"`data.init_args.device={self.device}` cannot hold the images "
                    f"({nbytes / 2**20:.0f} MiB): {error}; set it to `auto` or `map`."
                ) from error
        self._decided = True
        return self._held

    def fill(self, batch: Batch, device: torch.device) -> Batch:
        """Return ``batch`` with the pixels that it lacks, on ``device``."""
        if batch.pixels is not None or self._held is None:
            return batch
        ids = batch.ids.to(self._held.device, non_blocking=True)
        return replace(batch, pixels=self._held.index_select(0, ids).to(device))

    def _wanted(self, nbytes: int, device: torch.device) -> bool:
        if self.device != "auto":
            return self.device != "map"
        return device.type == "cuda" and nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]
