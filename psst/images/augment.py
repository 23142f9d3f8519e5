"""Random changes to training images that leave their class as it is."""

import torch
from torch import Tensor

from psst.images.views import flip_horizontal, shift


class Augmentation:
    """Random crop after zero padding, then a random mirror; each image draws its own.

    The same images and a generator in the same state give the same result.

    Args:
        padding: pixels of zeros added on every side before a crop of the original size is taken; 0: no crop.
        flip: mirror half of the images. Wrong for characters, where it changes the class.

    Raises:
        ValueError: ``padding`` is negative.
    """

    def __init__(self, padding: int = 0, flip: bool = False) -> None:
        if padding < 0:
            raise ValueError(f"`padding={padding}` must be at least 0; 0 switches the random crop off.")
        self.padding = padding
        self.flip = flip

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed ``images``, ``[n, C, H, W]`` of any dtype; draws on the generator's device."""
        n = len(images)
        if self.padding:
            bounds = (-self.padding, self.padding + 1)
            moves = torch.randint(*bounds, (2, n), generator=generator, device=generator.device)
            down, right = moves.to(images.device)
            images = shift(images, down, right)
        if self.flip:
            flipped = torch.randint(2, (n,), generator=generator, device=generator.device) == 1
            images = flip_horizontal(images, flipped.to(images.device))
        return images

    def __repr__(self) -> str:
        return f"{type(self).__name__}(padding={self.padding}, flip={self.flip})"
