"""What every backbone offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Turns images into feature vectors. Layers are made by `build`, so that sizes are never typed.

    A subclass keeps its constructor's arguments as attributes, and implements `make` and `forward`. One with
    feature maps implements `maps` and `pool`, with ``forward(x) == pool(maps(x))``, and sets `map_shape` in
    `make`. One that trains only what follows a frozen encoder implements `frozen` and `adapted`, with
    ``forward(x) == adapted(frozen(x))``. One whose weights want images normalized in their own way
    implements `statistics`.

    Attributes:
        image_shape: ``(C, H, W)`` it was built for; None before.
        num_features: D, length of a feature vector; 0 before `build`.
        map_shape: ``(C', h, w)`` of its maps; None without maps.

    Example:
        >>> class Flat(Backbone):
        ...     def make(self, image_shape):
        ...         self.layer = nn.Linear(math.prod(image_shape), 16)
        ...         return 16
        ...
        ...     def forward(self, images):
        ...         return self.layer(images.flatten(1))
    """

    def __init__(self) -> None:
        super().__init__()
        self.image_shape: tuple[int, int, int] | None = None
        self.num_features = 0
        self.map_shape: tuple[int, int, int] | None = None

    def build(self, image_shape: tuple[int, int, int]) -> None:
        """Make the layers for images of one shape; a second call with the same shape changes nothing.

        Initial values are torch's own and come from the global generator, hence from ``seed_everything``.

        Args:
            image_shape: ``(C, H, W)``.

        Raises:
            ValueError: The shape is not three positive numbers, too small for this network, or another one
                than the layers were made for.
        """
        shape = tuple(int(size) for size in image_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                f"`image_shape={shape}` must be three positive numbers (channels, height, width)."
            )
        if self.image_shape == shape:
            return
        if self.image_shape is not None:
            raise ValueError(
                f"{type(self).__name__} was built for `image_shape={self.image_shape}`, not {shape}; "
                "make a new one, or give images of that shape."
            )
        self.num_features = self.make(shape)
        self.image_shape = shape

    @abstractmethod
    def make(self, image_shape: tuple[int, int, int]) -> int:
        """Make the layers and return the number of features D.

        Args:
            image_shape: ``(C, H, W)``, three positive numbers.
        """

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of normalized images ``[n, C, H, W]``."""

    def maps(self, images: Tensor) -> Tensor:
        """Return feature maps ``[n, C', h, w]`` of normalized images ``[n, C, H, W]``.

        Raises:
            TypeError: This backbone has none.
        """
        raise TypeError(_lacks(self, "feature maps", "`maps` and `pool`"))

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features ``[n, D]`` of maps ``[n, C', h, w]``; raises as `maps` does."""
        raise TypeError(_lacks(self, "feature maps", "`maps` and `pool`"))

    @property
    def has_frozen(self) -> bool:
        """Whether all that is trained follows a frozen part."""
        return type(self).frozen is not Backbone.frozen

    def frozen(self, images: Tensor) -> Tensor:
        """Return features ``[n, D']`` of normalized images before anything that is trained.

        Raises:
            TypeError: All of this backbone is trained.
        """
        raise TypeError(_lacks(self, "frozen features", "`frozen` and `adapted`"))

    def adapted(self, frozen: Tensor) -> Tensor:
        """Return the features ``[n, D]`` of frozen ones ``[n, D']``; raises as `frozen` does."""
        raise TypeError(_lacks(self, "frozen features", "`frozen` and `adapted`"))

    def statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return the mean and std of channels that its weights want images normalized by, once built.

        None for those of the training images.
        """
        return None


class MapBackbone(Backbone):
    """A network whose features are pooled from its maps: those of `blocks`, kept in channels-last order."""

    blocks: nn.Sequential

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of normalized images ``[n, C, H, W]``."""
        return self.pool(self.maps(images))

    def maps(self, images: Tensor) -> Tensor:
        """Return maps ``[n, C', h, w]`` of normalized images ``[n, C, H, W]``."""
        maps: Tensor = self.blocks(images.contiguous(memory_format=torch.channels_last))
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean over each map, ``[n, C']``."""
        return maps.mean(dim=(2, 3))


def _lacks(backbone: Backbone, what: str, methods: str) -> str:
    return f"`backbone` {type(backbone).__name__} has no {what}; choose one that has, or give it {methods}."


def halved(size: tuple[int, int], times: int, name: str) -> tuple[int, int]:
    """Return height and width of a map after so many 2 x 2 poolings; ValueError if nothing would be left."""
    height, width = (side // 2**times for side in size)
    if min(height, width) < 1:
        raise ValueError(
            f"{name} halves its map {times} times and needs at least {2**times} x {2**times} pixels, "
            f"the images have {size[0]} x {size[1]}; raise `data.init_args.size` or choose another backbone."
        )
    return height, width
