"""Tell the training class of an image, beside an episodic main task."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot.head import positive
from psst.tasks.task import Encode, Task


class CosineClassifier(nn.Module):
    r"""Logits :math:`s \cos(f, w_c)` with a learned scale s; ValueError of its `owner` without classes.

    There are `per_class` weight vectors a training class, side by side.

    References:
        Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, 2018 (arXiv:1804.09458).
    """

    def __init__(self, setup: Setup, scale: float, owner: str, per_class: int = 1) -> None:
        super().__init__()
        if not setup.classes:
            raise ValueError(
                f"{owner} needs the training classes, which the module does not know; train with a data "
                "module that has `train_classes`, or give the module `classes`."
            )
        # of length 1: the longer a vector, the slower an optimizer of constant steps turns it
        shape = len(setup.classes) * per_class, setup.num_features
        self.weight = nn.Parameter(F.normalize(torch.randn(shape), dim=1))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[n, M]`` of features ``[n, D]``."""
        return self.scale * F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).T


class Classes(Task):
    r"""Classify images among all training classes: cosine logits :math:`s \cos(f, w_c)`, cross-entropy.

    It reads the features that the main task has computed already, so it costs no forward pass.

    Args:
        scale: First value of s, which is learned.

    Raises:
        ValueError: `scale` is not above 0.

    References:
        The classifier: Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, 2018
        (arXiv:1804.09458). Beside episodes, it is a loss over all base classes.

    Example:
        >>> FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[Classes()])
    """

    name = "classes"
    by_class = True

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def build(self, setup: Setup) -> None:
        """Make the classifier; ValueError where the training classes are not known."""
        self.classifier = CosineClassifier(setup, self.scale, "Classes")

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean cross-entropy of the labeled images; None without."""
        part = batch.labeled
        if part is None:
            return None
        return F.cross_entropy(self.classifier(encode(part)), part.labels)

    def chance(self, batch: Batch) -> float | None:
        """Return log M."""
        return math.log(len(self.classifier.weight))
