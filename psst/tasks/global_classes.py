"""A classifier over all training classes as the main task."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.components import as_component
from psst.episodes import Batch
from psst.fewshot import Head
from psst.fewshot.head import positive
from psst.tasks.classes import CosineClassifier
from psst.tasks.task import MAIN, Encode, MainTask


class GlobalClasses(MainTask):
    r"""Classify images among all training classes: cosine logits :math:`s \cos(f, w_c)`, cross-entropy.

    At test its weights :math:`w_c` are left aside, and `head` classifies episodes by the features.

    Args:
        head: For episodes of evaluation; a description of one is accepted too.
        scale: First value of s, which is learned.

    Raises:
        ValueError: `scale` is not above 0.

    References:
        Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, 2018 (arXiv:1804.09458);
        Chen et al., A Closer Look at Few-shot Classification, 2019 (arXiv:1904.04232), Baseline++.

    Example:
        >>> task = GlobalClasses(PrototypicalHead(), scale=10.0)
    """

    name = MAIN
    by_class = True

    def __init__(self, head: Head, scale: float = 10.0) -> None:
        super().__init__(as_component("head", head, Head))
        self.scale = positive("scale", scale)

    def build(self, setup: Setup) -> None:
        """Make the classifier; ValueError where the training classes are not known."""
        super().build(setup)
        self.classifier = CosineClassifier(setup, self.scale, "GlobalClasses")

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the cross-entropy of the images of classes, or of all labeled ones where there are none."""
        part = batch.classes or batch.labeled
        if part is None:
            return None
        features = encode(part)
        if self.training:
            self.head.observe(features.detach())
        logits = self.logits(features)
        self._note(logits, part.labels)
        return F.cross_entropy(logits, part.labels)

    def logits(self, features: Tensor) -> Tensor:
        """Return logits ``[n, M]`` of features ``[n, D]``."""
        logits: Tensor = self.classifier(features)
        return logits

    def chance(self, batch: Batch) -> float | None:
        """Return log M."""
        return math.log(len(self.classifier.weight))


def logits_of(main: nn.Module | None, task: str) -> Callable[[Tensor], Tensor]:
    """Return what gives a main task's logits of the training classes; TypeError if it has none."""
    if not isinstance(main, GlobalClasses):
        raise TypeError(
            f"`{task}` reads logits of the training classes, which the main task {type(main).__name__} does "
            "not have; take psst.tasks.GlobalClasses as `main`, in a finished model too."
        )
    return main.logits
