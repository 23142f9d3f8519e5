"""What heads and tasks are told when they make their layers."""

from dataclasses import dataclass

from torch import nn

from psst.backbones.encoder import Encoder


@dataclass(frozen=True)
class Setup:
    """The surroundings of a head or task.

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
