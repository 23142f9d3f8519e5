"""Batched changes of color: each image of a batch by its own amount.

Images are ``[n, C, H, W]`` of floats in [0, `bound`], C = 1 or 3 (RGB); so are results. An image's result
depends on that image and its amount only, to the last bit on a CPU, whatever the batch or the threads.
"""

import torch
from torch import Tensor

_RED, _BLUE = 0.299, 0.114  # luma of ITU-R BT.601; green has the rest


def brighten(images: Tensor, factors: Tensor, bound: float = 1.0) -> Tensor:
    """Multiply each image by its factor, ``[n]``: 0 is black, 1 the image itself."""
    return (images * _column(factors)).clamp_(0, bound)


def contrast(images: Tensor, factors: Tensor, bound: float = 1.0) -> Tensor:
    """Move each image away from its mean gray by its factor, ``[n]``: 0 is gray, 1 the image itself."""
    gray = to_gray(images)
    # rows first: no single sum is long enough to be divided among threads, which would change its last bits
    mean = gray.sum(dim=3, keepdim=True).sum(dim=2, keepdim=True) / (gray.shape[2] * gray.shape[3])
    return _blend(images, mean, factors, bound)


def saturate(images: Tensor, factors: Tensor, bound: float = 1.0) -> Tensor:
    """Move each pixel away from its gray by the image's factor, ``[n]``: 0 is gray, 1 the image itself."""
    return images if images.shape[1] == 1 else _blend(images, to_gray(images), factors, bound)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of each image by its part of the color circle, ``[n]``; 0 is the image itself."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1)
    place = torch.where(
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sectors = torch.arange(5, 0, -2, dtype=images.dtype, device=images.device)  # of red, green and blue
    place = place + 6 * _column(turns) + sectors.reshape(1, 3, 1, 1)
    place = place - 6 * (place / 6).floor()
    turned = high - chroma * torch.minimum(place, 4 - place).clamp_(0, 1)
    return torch.where(_column(turns) == 0, images, turned)


def to_gray(images: Tensor) -> Tensor:
    """Return the gray of each pixel, ``[n, 1, H, W]``; that of a gray pixel is its value, to the last bit."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return green + _RED * (red - green) + _BLUE * (blue - green)


def _blend(images: Tensor, others: Tensor, factors: Tensor, bound: float) -> Tensor:
    share = _column(factors)
    return (images * share).add_(others * (1 - share)).clamp_(0, bound)


def _column(amounts: Tensor) -> Tensor:
    return amounts.reshape(-1, 1, 1, 1)
