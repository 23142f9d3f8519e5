"""What every self-supervised task offers."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["AuxiliaryTask"]


class AuxiliaryTask(nn.Module, ABC):
    """Makes views of unlabelled images, and a loss of the views' features.

    A subclass keeps its constructor's arguments as attributes and makes its layers in `build`.
    """

    def __init__(self) -> None:
        super().__init__()

    @property
    @abstractmethod
    def name(self) -> str:
        """One word, unique in a module; names the loss in logs, such as ``train/rotation_loss``."""

    @abstractmethod
    def build(self, n_features: int) -> None:
        """Make the layers for features of length D.

        Args:
            n_features: D.
        """

    @abstractmethod
    def views(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return views of the images, and what is to be told from their features.

        Args:
            images: ``[n, C, H, W]``, normalized.
            generator: On the images' device; every random choice comes from it.

        Returns:
            Views ``[n', C, H', W']`` and targets, whose first axis is ``n'``.
        """

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, a scalar.

        Args:
            features: ``[n', D]`` of the views.
            targets: As made by `views`.
        """
