"""Normalization and backbone in one, which all uses have in common, and what tasks are told of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from psst.backbones.backbone import Backbone

_NEUTRAL = 0.5  # mean and standard deviation until those of the data are known
_LEAST_STD = 1 / 255  # a channel may be the same everywhere


class Encoder(nn.Module):
    """Turns images as they are stored into features; the one place that normalizes.

    Args:
        backbone: Built by `build`, or already.

    Attributes:
        mean: ``[C]``, of images in [0, 1]; a buffer, as `std` is. ``[3]`` over one gray channel where the
            backbone's weights were made for color: normalized images then have three.
        std: As `mean`.

    Example:
        >>> encoder = Encoder(Conv4(hidden=8))
        >>> encoder.build((1, 28, 28))
        >>> encoder(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape
        torch.Size([2, 8])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self._measured = False  # whether mean and std belong to the parameters
        self.register_load_state_dict_post_hook(_keep_statistics)  # type: ignore[no-untyped-call]  # untyped in torch

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """``(C, H, W)`` of the images; None before `build`."""
        return self.backbone.image_shape

    @property
    def num_features(self) -> int:
        """Length of a feature vector, D."""
        return int(self.backbone.num_features)

    def build(self, image_shape: Sequence[int]) -> None:
        """Make the layers for images ``(C, H, W)``; a second call with the same shape changes nothing.

        Raises:
            ValueError: The shape does not suit the backbone, or is not the one it was built for.
        """
        channels, height, width = image_shape
        self.backbone.build((channels, height, width))
        if not hasattr(self, "mean"):
            own = self.backbone.statistics()
            mean, std = own or ([_NEUTRAL] * channels,) * 2
            self.register_buffer("mean", torch.tensor(mean))
            self.register_buffer("std", torch.tensor(std))
            self._measured = own is not None

    def normalize_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and std of the training images, unless some are the backbone's, were taken or loaded."""
        if not self._measured:
            self.mean.copy_(torch.as_tensor(mean))
            self.std.copy_(torch.as_tensor(std).clamp_min(_LEAST_STD))
            self._measured = True

    def normalized(self, images: Tensor) -> Tensor:
        """Return uint8 images in [0, 255], or floating ones in [0, 1], as the backbone wants them.

        Raises:
            TypeError: They are neither.
        """
        if not images.is_floating_point():
            if images.dtype != torch.uint8:
                raise TypeError(f"`images` must be uint8 or floating in [0, 1], got {images.dtype}.")
            images = images.to(self.mean.dtype) / 255
        return (images.to(self.mean.dtype) - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of images ``[n, C, H, W]``.

        Raises:
            ValueError: Other channels, height or width than the encoder was made for.
            TypeError: Neither uint8 nor floating.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            law = f"[n, {', '.join(map(str, self.image_shape or ('C', 'H', 'W')))}]"
            raise ValueError(f"`images` must be {law}, got {list(images.shape)}; resize them.")
        features: Tensor = self.backbone(self.normalized(images))
        return features


def _keep_statistics(encoder: nn.Module, _: object) -> None:
    """Once parameters are loaded, the mean and std that came with them belong to them."""
    if isinstance(encoder, Encoder) and encoder.image_shape is not None:
        encoder._measured = True


@dataclass(frozen=True)
class Setup:
    """The surroundings of a head or task: what it is told when it makes its layers.

    Attributes:
        encoder: Shared by all tasks; `Encoder.num_features` is D, its backbone's `map_shape` that of maps.
        classes: Names of the M training classes, in the order of the labels; empty where they are unknown.
        main: The main task; None for the main task itself. One that classifies all training classes has
            ``logits(features)``, ``[n, D]`` to ``[n, M]``.

    Example:
        >>> encoder = Encoder(Conv4(hidden=8))
        >>> encoder.build((1, 28, 28))
        >>> Setup(encoder, classes=("cat", "dog")).num_features
        8
    """

    encoder: Encoder
    classes: tuple[str, ...] = ()
    main: nn.Module | None = None

    @property
    def num_features(self) -> int:
        """Length of a feature vector, D."""
        return self.encoder.num_features

    @property
    def map_channels(self) -> int:
        """Channels of a feature map, C'; ValueError if the backbone has no maps."""
        shape = self.encoder.backbone.map_shape
        if shape is None:
            raise ValueError(
                f"`backbone` {type(self.encoder.backbone).__name__} has no feature maps; choose one that "
                "has, or a task that reads vectors."
            )
        return shape[0]
