"""Batched geometry: each image of a batch is turned, moved, cut up, cropped or covered by its own amount.

Images are ``[n, C, H, W]`` on any device, which is never waited for. What moves whole pixels takes any dtype,
what resamples, bilinearly, floats. An image whose amounts change nothing is returned to the last bit; on a
CPU no result depends on the batch or the number of threads.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate90(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image, square, counter-clockwise by its own number of quarter turns, ``[n]`` integers."""
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ValueError(
            f"quarter turns need `images` of shape [n, C, H, H], found {list(images.shape)}; "
            "prepare the data with square images."
        )
    if turns.shape != images.shape[:1]:
        raise ValueError(f"`turns` has shape {list(turns.shape)}, {len(images)} images need [{len(images)}].")
    turns = turns.reshape(-1, 1, 1, 1).remainder(4)
    half = torch.where(turns >= 2, images.flip(-2, -1), images)
    return torch.where(turns % 2 == 1, half.rot90(1, (-2, -1)), half)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move each image by whole pixels, ``[n]``, negative for up and left; what enters is zero."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    # one row and one column of zeros stand for everything outside the image
    rows = torch.where((rows < 0) | (rows >= height), height, rows)
    columns = torch.where((columns < 0) | (columns >= width), width, columns)
    return _gather(F.pad(images, (0, 1, 0, 1)), rows[:, :, None] * (width + 1) + columns[:, None, :])


def patches(images: Tensor, grid: int, gap: int, generator: torch.Generator) -> Tensor:
    """Cut each image into a grid of patches, each at a random place of its own within its cell.

    A patch is smaller than its cell by `gap` pixels both ways, which keeps a network from telling neighbors
    by lines that go on across their border. Pixels that do not divide into `grid` x `grid` cells are left
    out, evenly at both ends. Returns ``[n, grid * grid, C, H // grid - gap, W // grid - gap]``, row by row.
    """
    n, _, height, width = images.shape
    cell = (height // max(grid, 1), width // max(grid, 1))
    rows, columns = cell[0] - gap, cell[1] - gap
    if grid < 1 or gap < 0 or min(rows, columns) < 1:
        raise ValueError(
            f"`grid={grid}` and `gap={gap}` cut images of {height} x {width} into cells of {cell[0]} x "
            f"{cell[1]}; `grid` must be at least 1 and `gap` at least 0 and smaller than a cell."
        )
    cells = torch.arange(grid * grid, device=images.device)
    offsets = torch.randint(gap + 1, (2, n, grid * grid), generator=generator, device=generator.device)
    down, right = offsets.to(images.device)
    top = (height - grid * cell[0]) // 2 + cells.div(grid, rounding_mode="floor") * cell[0] + down
    left = (width - grid * cell[1]) // 2 + cells.remainder(grid) * cell[1] + right
    down, right = torch.arange(rows, device=images.device), torch.arange(columns, device=images.device)
    inside = down[:, None] * width + right
    return _gather(images, (top * width + left)[:, :, None, None] + inside).transpose(1, 2)


def _gather(images: Tensor, places: Tensor) -> Tensor:
    """Return the pixels at ``places``, ``[n, ...]``, of each image, its rows in one: ``[n, C, ...]``."""
    n, channels = images.shape[:2]
    flat = places.reshape(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, flat).reshape(n, channels, *places.shape[1:])


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

    All amounts are ``[n]``: `angles` in degrees, counter-clockwise; pixels to the `right` and `down`;
    `scales` above 0; `shears`, degrees below 90 by which the vertical leans to the right, before the turn.
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
    uniform: Tensor, share: Sequence[float], ratio: Sequence[float], size: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place a rectangle in each image of height and width `size`.

    `uniform` numbers in [0, 1), ``[4, n]``, decide its share of the area, between two bounds, its aspect
    ratio, width by height, its row and its column. The aspect ratio is log-uniform between those bounds of
    `ratio` that the image has room for, so that areas keep their distribution and nothing is drawn twice.
    Returns top, left, height and width, ``[n]`` whole numbers of pixels as floats, inside the image.
    """
    (part, shape, down, right), (rows, columns) = uniform, size
    area = _precise(share[0] + part * (share[1] - share[0])) * (rows * columns)
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
