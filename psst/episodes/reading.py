"""Image ids to what a batch holds of them: pixels, or the ids themselves where the device has the pixels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from psst.episodes.counters import Ids
from psst.images.store import ImageStore

Reader = Callable[[ImageStore, Ids], Tensor]


def read_images(store: ImageStore, ids: Ids) -> Tensor:
    """Return the images ``ids``, ``[...]``, as ``[..., C, H, W]`` uint8."""
    return torch.from_numpy(store.read(ids))


def read_ids(store: ImageStore, ids: Ids) -> Tensor:
    """Return the ids, for a batch whose images are looked up on the device."""
    return torch.from_numpy(np.array(ids, dtype=np.int64))
