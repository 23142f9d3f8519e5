"""Images kept in the memory of the device that trains, where they fit."""

import math

import numpy as np
import torch
from torch import Tensor

from psst.images.store import ImageStore

_CHUNK = 2**26  # bytes copied at a time


class ResidentImages:
    """All images of a store in the memory of one device; an episode is one gather there, nothing travels.

    Args:
        store: holds the images.
        device: of training.

    Attributes:
        images: ``[n, C, H, W]`` uint8 on ``device``.
    """

    def __init__(self, store: ImageStore, device: torch.device | str) -> None:
        shape = (len(store), *store.image_shape)
        self.images = torch.empty(shape, dtype=torch.uint8, device=device)
        step = max(1, _CHUNK // math.prod(store.image_shape))
        for start in range(0, len(store), step):
            ids = np.arange(start, min(start + step, len(store)))
            self.images[start : start + step] = torch.from_numpy(store.read(ids))

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def read(self, ids: Tensor) -> Tensor:
        """Return the images ``ids``, ``[...]`` int64 on any device, as ``[..., C, H, W]`` on this one."""
        places = ids.to(self.device, non_blocking=True).reshape(-1)
        return self.images.index_select(0, places).reshape(*ids.shape, *self.images.shape[1:])


def resident_images(
    store: ImageStore, device: torch.device | str, budget_fraction: float = 0.25
) -> ResidentImages | None:
    """Return the images on ``device``, or None where they stay in the memory map.

    They move to a CUDA device of which they take at most ``budget_fraction`` of the free memory. On a CPU the
    map stays, which all processes share.

    Args:
        store: holds the images.
        device: of training.
        budget_fraction: of the device's free memory, in (0, 1].

    Raises:
        ValueError: ``budget_fraction`` is out of its range.
    """
    if not 0 < budget_fraction <= 1:
        raise ValueError(f"`budget_fraction={budget_fraction}` must be in (0, 1].")
    device = torch.device(device)
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return ResidentImages(store, device) if store.images.nbytes <= budget_fraction * free else None
