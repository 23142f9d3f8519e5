"""Batched resampling: each image of a batch is cropped, turned or covered by its own amount.

Images are ``[n, C, H, W]`` floats; results have the same shape. Sampling is bilinear. An image whose amounts
change nothing is returned to the last bit; on a CPU no result depends on the batch or the number of threads.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def resized_crop(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Enlarge a rectangle of each image, ``[n]`` pixels each, to the whole image; nothing else is seen."""
    rows = _stretched(top, height, images.shape[2], images.dtype)
    columns = _stretched(left, width, images.shape[3], images.dtype)
    shape = (len(images), images.shape[2], images.shape[3])
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    whole = (top == 0) & (left == 0) & (height == images.shape[2]) & (width == images.shape[3])
    return _sample(images, grid, whole, "border")


def affine(
    images: Tensor, angles: Tensor, right: Tensor, down: Tensor, scales: Tensor, shears: Tensor
) -> Tensor:
    """Shear, enlarge and turn each image about its center, then move it; what enters is zero.

    Args:
        images: to change.
        angles: ``[n]`` degrees, counter-clockwise.
        right: ``[n]`` pixels, negative for left.
        down: ``[n]`` pixels, negative for up.
        scales: ``[n]`` above 0; 2 shows everything twice as large.
        shears: ``[n]`` degrees between -90 and 90 by which the vertical leans to the right, before the turn.
    """
    height, width = images.shape[2:]
    # from a place in the result to one in the image: undo the move, the turn, the scale, then the shear
    angle, lean = torch.deg2rad(_precise(angles)), torch.deg2rad(_precise(shears)).tan()
    cosine, sine, scale = angle.cos(), angle.sin(), _precise(scales)
    matrix = [cosine + lean * sine, -sine + lean * cosine, sine, cosine]
    matrix = [(entry / scale).to(images.dtype).reshape(-1, 1, 1) for entry in matrix]
    x = _centered(width, right, images).reshape(-1, 1, width)
    y = _centered(height, down, images).reshape(-1, height, 1)
    across, along = matrix[0] * x + matrix[1] * y, matrix[2] * x + matrix[3] * y
    grid = torch.stack([across * (2 / width), along * (2 / height)], dim=-1)
    same = (angles == 0) & (right == 0) & (down == 0) & (scales == 1) & (shears == 0)
    return _sample(images, grid, same, "zeros")


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Set a rectangle of each image, ``[n, C, H, W]`` of any dtype, to zero; whole pixels, ``[n]`` each."""
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)


def rectangles(
    share: Tensor,
    shape: Tensor,
    down: Tensor,
    right: Tensor,
    size: tuple[int, int],
    ratio: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place a rectangle in each image.

    The aspect ratio is log-uniform between those bounds of `ratio` that the image has room for at the drawn
    area, so that areas keep their distribution and nothing is drawn twice.

    Args:
        share: ``[n]`` area of the rectangle as part of the image.
        shape: ``[n]`` uniform in [0, 1): decides the aspect ratio.
        down: ``[n]`` uniform in [0, 1): decides the row.
        right: ``[n]`` uniform in [0, 1): decides the column.
        size: height and width of the images.
        ratio: least and largest width divided by height.

    Returns:
        Top, left, height and width, ``[n]`` whole numbers of pixels as floats, inside the image.
    """
    rows, columns = size
    area = _precise(share) * (rows * columns)
    lowest = (area / rows**2).log().clamp(min=math.log(ratio[0]), max=math.log(ratio[1]))
    highest = (columns**2 / area).log().clamp(min=math.log(ratio[0]), max=math.log(ratio[1]))
    wide = (lowest + _precise(shape) * (highest - lowest)).exp()
    height = (area / wide).sqrt().round().clamp(1, rows)
    width = (area * wide).sqrt().round().clamp(1, columns)
    top = (_precise(down) * (rows - height + 1)).floor()
    left = (_precise(right) * (columns - width + 1)).floor()
    return top, left, height, width


def _stretched(start: Tensor, extent: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Return where each of `size` pixels looks, ``[n, size]`` in [-1, 1], never beyond the outer centers."""
    start, extent = _precise(start)[:, None], _precise(extent)[:, None]
    step = torch.arange(size, dtype=start.dtype, device=start.device) + 0.5
    places = (start + step * (extent / size) - 0.5).clamp(start, start + extent - 1)
    return ((2 * places + 1) / size - 1).to(dtype)


def _centered(size: int, moved: Tensor, images: Tensor) -> Tensor:
    """Return pixel centers from the middle of the image, ``[n, size]``, before each image's move."""
    places = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2
    return places - moved.to(images.dtype)[:, None]


def _precise(amounts: Tensor) -> Tensor:
    """Return doubles: rounded to floats, their functions agree between vectorized loops and their rests."""
    return amounts.float() if amounts.device.type == "mps" else amounts.double()  # which has no doubles


def _sample(images: Tensor, grid: Tensor, same: Tensor, outside: str) -> Tensor:
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)
    return torch.where(same.reshape(-1, 1, 1, 1), images, sampled)
