"""Batched geometric views: each image of a batch is turned, moved or cut up by its own amount.

Works on any dtype and device, and never waits for the device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def rotate90(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image counter-clockwise by its own number of quarter turns.

    ``images`` are ``[n, C, H, W]``, square; ``turns`` are ``[n]`` integers, taken modulo 4.

    Raises:
        ValueError: the images are not square, or ``turns`` does not hold one number per image.
    """
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
    """Move the content of each image by whole pixels; what enters is zero, what leaves is lost.

    ``images`` are ``[n, C, H, W]``; ``down`` and ``right`` ``[n]`` integers, negative for up and left.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - down.reshape(-1, 1)
    columns = torch.arange(width, device=images.device) - right.reshape(-1, 1)
    # one row and one column of zeros stand for everything outside the image
    framed = F.pad(images, (0, 1, 0, 1))
    rows = torch.where((rows < 0) | (rows >= height), height, rows)
    columns = torch.where((columns < 0) | (columns >= width), width, columns)
    positions = rows[:, :, None] * (width + 1) + columns[:, None, :]
    flat = positions.reshape(len(images), 1, -1).expand(-1, images.shape[1], -1)
    return framed.flatten(2).gather(2, flat).reshape(images.shape)


def patches(images: Tensor, grid: int, gap: int, generator: torch.Generator) -> Tensor:
    """Cut each image into a grid of patches, each at a random place of its own within its cell.

    The gap keeps a network from telling neighbors by lines that go on across their border. Pixels that do not
    divide into `grid` cells are left out, evenly at both ends.

    Args:
        images: ``[n, C, H, W]`` of any dtype.
        grid: cells in a row and in a column.
        gap: by how many pixels a patch is smaller than its cell, both ways.
        generator: draws the places.

    Returns:
        ``[n, grid * grid, C, H // grid - gap, W // grid - gap]``, row by row.

    Raises:
        ValueError: `grid` is below 1, `gap` negative, or nothing is left of a cell.
    """
    n, channels, height, width = images.shape
    cell = (height // max(grid, 1), width // max(grid, 1))
    rows, columns = cell[0] - gap, cell[1] - gap
    if grid < 1 or gap < 0 or min(rows, columns) < 1:
        raise ValueError(
            f"`grid={grid}` and `gap={gap}` cut images of {height} x {width} into cells of {cell[0]} x "
            f"{cell[1]}; `grid` must be at least 1 and `gap` at least 0 and smaller than a cell."
        )
    count = grid * grid
    offsets = torch.randint(gap + 1, (2, n, count), generator=generator, device=generator.device)
    down, right = offsets.to(images.device)
    cells = torch.arange(count, device=images.device)
    top = (height - grid * cell[0]) // 2 + cells.div(grid, rounding_mode="floor") * cell[0] + down
    left = (width - grid * cell[1]) // 2 + cells.remainder(grid) * cell[1] + right
    inside = torch.arange(rows, device=images.device)[:, None] * width + torch.arange(
        columns, device=images.device
    )
    positions = (top * width + left)[:, :, None, None] + inside
    flat = positions.reshape(n, 1, -1).expand(-1, channels, -1)
    cut = images.flatten(2).gather(2, flat).reshape(n, channels, count, rows, columns)
    return cut.transpose(1, 2)
