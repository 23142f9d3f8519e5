"""What crosses from the device to the host, and between the ranks, in a step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from psst.pareto.least_squares import Array


def to_host(parts: Sequence[Tensor], world_size: int = 1) -> list[Array]:
    """Tensors on any devices as float64 arrays, averaged over the ranks; all of them in one transfer."""
    device = parts[0].device
    packed = torch.cat([part.detach().reshape(-1).to(device) for part in parts])
    if world_size > 1:
        torch.distributed.all_reduce(packed)  # a sum: gloo has no mean
        packed /= world_size
    host: Array = packed.cpu().double().numpy()
    ends = np.cumsum([part.numel() for part in parts])[:-1]
    return [flat.reshape(part.shape) for flat, part in zip(np.split(host, ends), parts, strict=True)]


def agree(reached: Sequence[set[int]], n: int, device: torch.device) -> None:
    """Add to each task's positions, of n, what it has reached on other ranks."""
    mask = torch.zeros(len(reached), n, device=device)
    for row, found in zip(mask, reached, strict=True):
        row[[p for p in found if p < n]] = 1.0
    torch.distributed.all_reduce(mask)
    for known, row in zip(reached, mask.cpu(), strict=True):
        known.update(row.nonzero().flatten().tolist())
