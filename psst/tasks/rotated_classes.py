"""Tell the training class and the quarter turn of an image at once."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot.head import positive
from psst.tasks.classes import CosineClassifier
from psst.tasks.rotation import Rotation
from psst.tasks.task import Encode


class RotatedClasses(Rotation):
    r"""Classify turned images among 4 M classes, a training class in each of its quarter turns.

    One cosine classifier :math:`s \cos(f, w_{c,k})` and cross-entropy, so that turned images keep apart what
    `Rotation` alone would have in common. Unlabeled images are left out.

    Args:
        turns: As in `Rotation`.
        scale: First value of s, which is learned.

    Raises:
        ValueError: `turns` is none of them, or `scale` is not above 0.

    References:
        Lee et al., Self-supervised Label Augmentation via Input Transformations, 2020 (arXiv:1910.05872),
        joint labels. Departure: a cosine classifier.

    Example:
        >>> FewShotModule(Conv4(), GlobalClasses(PrototypicalHead()), auxiliary=[RotatedClasses("quarter")])
    """

    name = "rotated_classes"
    by_class = True
    classifier: CosineClassifier

    def __init__(self, turns: Literal["one", "all", "quarter"] = "one", scale: float = 10.0) -> None:
        super().__init__(turns)
        self.scale = positive("scale", scale)

    def build(self, setup: Setup) -> None:
        """Make the classifier; ValueError where the training classes are not known."""
        self.classifier = CosineClassifier(setup, self.scale, "RotatedClasses", per_class=4)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy of the labeled images; None without.

        Raises:
            ValueError: The images are not square.
        """
        if batch.labeled is None:
            return None
        features, turns, labels = self._turned(batch.labeled, encode, draws)
        return F.cross_entropy(self.classifier(features), labels * 4 + turns)

    def chance(self, batch: Batch) -> float | None:
        """Return log 4M."""
        return math.log(len(self.classifier.weight))
