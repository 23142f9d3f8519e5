"""Tell by how many quarter turns an image was rotated."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.images.views import rotate90
from psst.selfsupervised.auxiliary_task import AuxiliaryTask

__all__ = ["Rotation"]

N_TURNS = 4


class Rotation(AuxiliaryTask):
    """Predict the quarter turn of each image, by a linear classifier on its features and cross-entropy.

    Args:
        turns: ``one`` random turn of every image, or ``all`` four (four times the cost, less noise).

    Raises:
        ValueError: `turns` is neither.

    References:
        Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations, 2018
        (arXiv:1803.07728); beside few-shot learning: Gidaris et al. 2019 (arXiv:1906.05186).
    """

    def __init__(self, turns: Literal["one", "all"] = "one") -> None:
        super().__init__()
        if turns not in ("one", "all"):
            raise ValueError(f"`turns={turns}` must be `one` (a random turn an image) or `all` (four).")
        self.turns = turns
        self.classifier: nn.Linear | None = None

    @property
    def name(self) -> str:
        """``rotation``."""
        return "rotation"

    def build(self, n_features: int) -> None:
        """Make the classifier; a second call with the same length changes nothing.

        Raises:
            ValueError: It was made for another length.
        """
        if self.classifier is None:
            self.classifier = nn.Linear(n_features, N_TURNS)
        elif self.classifier.in_features != n_features:
            raise ValueError(
                f"Rotation was built for {self.classifier.in_features} features, not {n_features}; "
                "make a new one."
            )

    def views(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return turned images ``[n', C, H, W]`` and their quarter turns ``[n']``; n' is n, or 4 n.

        Raises:
            ValueError: The images are not square.
        """
        if self.turns == "all":
            turns = torch.arange(N_TURNS, device=images.device).repeat_interleave(len(images))
            images = images.repeat(N_TURNS, 1, 1, 1)
        else:
            turns = torch.randint(N_TURNS, (len(images),), generator=generator, device=images.device)
        return rotate90(images, turns), turns

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of features ``[n', D]`` against turns ``[n']``."""
        if self.classifier is None:
            raise RuntimeError("Rotation has no layers yet; call `build(n_features)` first.")
        return F.cross_entropy(self.classifier(features), targets)
