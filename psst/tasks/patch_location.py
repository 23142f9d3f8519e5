"""Tell where a patch lies beside the middle one."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.images.geometry import patches
from psst.tasks.task import Encode, Task

_MIDDLE = 4


class PatchLocation(Task):
    """Predict which of the eight neighbors of the middle patch another patch is.

    Each image is cut into a grid of 3 x 3; the middle and a random neighbor are enlarged to `side` and
    encoded, and a linear classifier sees both features.

    Args:
        reads: ``vectors``; or ``maps``, averaged over their places, for which `side` may be smaller.
        side: Of the enlarged patches, in pixels; None for that of the images.
        gap: By how many pixels a patch is smaller than its cell, so that no line goes on across the border.

    Raises:
        ValueError: `reads` is neither, or a number is out of its range.

    References:
        Doersch et al., Unsupervised Visual Representation Learning by Context Prediction, 2015
        (arXiv:1505.05192). Departures: one linear layer, no color dropping.

    Example:
        >>> auxiliary = [PatchLocation(reads="maps", side=32)]
    """

    name = "patch_location"
    grid, shown = 3, 2  # cells along a side, and patches that the classifier sees
    answers = 8

    def __init__(
        self, reads: Literal["vectors", "maps"] = "vectors", side: int | None = None, gap: int = 1
    ) -> None:
        super().__init__()
        if reads not in ("vectors", "maps"):
            raise ValueError(f"`reads={reads}` must be `vectors` or `maps`.")
        if side is not None and side < 1:
            raise ValueError(f"`side={side}` must be at least 1; null takes that of the images.")
        if gap < 0:
            raise ValueError(f"`gap={gap}` must be at least 0.")
        self.reads, self.side, self.gap = reads, side, gap
        self.maps = reads == "maps"

    def build(self, setup: Setup) -> None:
        """Make the classifier; ValueError for maps of a backbone without."""
        width = setup.map_channels if self.maps else setup.num_features
        self.classifier = nn.Linear(self.shown * width, self.answers)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy over all images, unlabeled ones included."""
        images = batch.images()
        neighbors = torch.randint(self.answers, (len(batch),), generator=draws)
        cut = patches(images, self.grid, self.gap, draws)
        # the numbers of the neighbors leave out that of the middle
        others = cut[torch.arange(len(batch)), neighbors + (neighbors >= _MIDDLE)]
        features = self._encoded(torch.stack([cut[:, _MIDDLE], others], dim=1), images.shape[-1], encode)
        logits = self.classifier(features.flatten(1))
        return F.cross_entropy(logits, neighbors.to(logits.device))

    def _encoded(self, cut: Tensor, side: int, encode: Encode) -> Tensor:
        """Return features ``[n, k, D]`` of patches ``[n, k, C, h, w]``, enlarged to `side` or one's own."""
        side = side if self.side is None else self.side
        pictures = F.interpolate(cut.flatten(0, 1), size=(side, side), mode="bilinear", antialias=False)
        features = encode.images(pictures, maps=self.maps)
        features = features.mean(dim=(2, 3)) if self.maps else features
        return features.view(*cut.shape[:2], -1)

    def chance(self, batch: Batch) -> float | None:
        """Return the logarithm of the number of answers."""
        return math.log(self.answers)
