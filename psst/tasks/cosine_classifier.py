"""A cosine classifier over all training classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup


class CosineClassifier(nn.Module):
    r"""Logits :math:`s \cos(f, w_c)` with a learned scale s and one weight vector a training class.

    Args:
        setup: Gives the classes and the length of features.
        scale: First value of s.
        owner: Of the classifier, for the error.
        per_class: Weight vectors a class, side by side.

    Raises:
        ValueError: The training classes are not known.

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
