"""Tell in which order the pieces of an image were laid."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.images.geometry import patches
from psst.tasks.patch_location import PatchLocation
from psst.tasks.task import Encode

_CANDIDATES = 2000
_CELLS = 9


class Jigsaw(PatchLocation):
    """Predict which of some permutations the nine patches of an image were put in.

    Each image is cut into a grid of 3 x 3, its patches are enlarged to `side` and encoded, and a linear
    classifier sees their features in the order of a random permutation. The permutations are far apart: each
    differs from the ones before it in as many places as possible.

    Args:
        reads: As in `PatchLocation`.
        side: As in `PatchLocation`.
        gap: As in `PatchLocation`.
        permutations: How many there are.

    Raises:
        ValueError: `reads` is neither, or a number is out of its range.

    References:
        Noroozi and Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, 2016
        (arXiv:1603.09246); beside few-shot learning: Su et al., When Does
        Self-supervision Improve Few-shot Learning?, 2020 (arXiv:1910.03560). Departure: one linear layer.

    Example:
        >>> auxiliary = [Jigsaw(reads="maps", side=16)]
    """

    name = "jigsaw"
    shown = _CELLS
    orders: Tensor

    def __init__(
        self,
        reads: Literal["vectors", "maps"] = "vectors",
        side: int | None = None,
        gap: int = 1,
        permutations: int = 35,
    ) -> None:
        super().__init__(reads, side, gap)
        if not 2 <= permutations <= _CANDIDATES // 2:
            raise ValueError(
                f"`permutations={permutations}` must be from 2 to {_CANDIDATES // 2}; 35 is usual."
            )
        self.permutations = self.answers = permutations

    def build(self, setup: Setup) -> None:
        """Make the classifier and the permutations; ValueError for maps of a backbone without."""
        super().build(setup)
        self.register_buffer("orders", _far_apart(self.permutations))

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy over all images, unlabeled ones included."""
        images = batch.images()
        chosen = torch.randint(self.permutations, (len(batch),), generator=draws).to(images.device)
        features = self._encoded(patches(images, self.grid, self.gap, draws), images.shape[-1], encode)
        orders = self.orders[chosen][:, :, None].expand_as(features)
        return F.cross_entropy(self.classifier(features.gather(1, orders).flatten(1)), chosen)


def _far_apart(n: int) -> Tensor:
    """Return permutations ``[n, 9]``, the next always one that differs most from its nearest before."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.stack([torch.randperm(_CELLS, generator=generator) for _ in range(_CANDIDATES)])
    chosen = [0]
    nearest = torch.full((_CANDIDATES,), _CELLS)
    while len(chosen) < n:
        nearest = torch.minimum(nearest, (pool != pool[chosen[-1]]).sum(dim=1))
        chosen.append(int(nearest.argmax()))
    return pool[chosen]
