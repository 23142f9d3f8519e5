"""The random numbers of an augmented batch: one row a decision, one column an image.

The whole block is drawn whenever any of its rows is used, and starts at the same place of the generator
whether images are also cropped and flipped or not. So no decision moves when another is switched on or off.
(The flip alone keeps to its place in the first release: after the crop, if there is one.) Like those two, a
decision depends on the number of images beside the place of its own.
"""

import torch
from torch import Tensor

_DECISIONS = (
    "crop_share",
    "crop_shape",
    "crop_down",
    "crop_right",
    "rotation",
    "translation_right",
    "translation_down",
    "scale",
    "shear",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "grayscale",
    "erasing",
    "erased_share",
    "erased_shape",
    "erased_down",
    "erased_right",
)
_ROW = {name: row for row, name in enumerate(_DECISIONS)}
_ROWS = 32  # with room for later decisions, which must not move the earlier ones


class Draws:
    """Uniform numbers in [0, 1) for `n` images, drawn at once on the generator's device.

    Args:
        n: number of images.
        generator: where it stands after the crop and the flip, or those of them that are on.
        device: of the images.
        skipped: integers that an absent crop or flip would have drawn: 2 n or n each, in calls of that size.
    """

    def __init__(
        self, n: int, generator: torch.Generator, device: torch.device, skipped: tuple[int, ...] = ()
    ) -> None:
        for count in skipped:
            torch.randint(2, (count,), generator=generator, device=generator.device)
        self._block = torch.rand(_ROWS, n, generator=generator, device=generator.device).to(device)

    def uniform(self, decision: str) -> Tensor:
        """Return ``[n]`` numbers in [0, 1)."""
        return self._block[_ROW[decision]]

    def between(self, decision: str, low: float, high: float) -> Tensor:
        """Return ``[n]`` numbers between `low` and `high`; exactly `low` where the two are the same."""
        return low + self.uniform(decision) * (high - low)

    def around(self, decision: str, reach: float) -> Tensor:
        """Return ``[n]`` numbers between ``-reach`` and `reach`."""
        return self.between(decision, -reach, reach)

    def chance(self, decision: str, probability: float) -> Tensor:
        """Return ``[n]`` bool, true with this probability: never at 0, always at 1."""
        return self.uniform(decision) < probability
