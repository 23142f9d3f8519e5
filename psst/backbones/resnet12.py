"""ResNet-12, the larger backbone of the few-shot benchmarks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from psst.backbones.backbone import Backbone, halved
from psst.backbones.drop_block import DropBlock


class ResNet12(Backbone):
    """Four residual blocks of three 3 x 3 convolutions, then the global average of the map.

    Two networks go by this name and their published figures are not alike. The default, 64-160-320-640
    channels and 640 features, is the one of MetaOptNet (Lee et al. 2019, arXiv:1904.03758), FEAT and most
    later tables; ``widths=(64, 128, 256, 512)`` is the one of TADAM (Oreshkin et al. 2018). Each block:
    (convolution, BatchNorm, LeakyReLU 0.1) three times with a 1 x 1 convolution and BatchNorm round them,
    the last LeakyReLU after the sum, 2 x 2 max-pool, dropout. As in MetaOptNet, dropout is of single values
    in the first two blocks and of 5 x 5 patches (DropBlock) in the last two. Departures: a constant rate
    instead of one that grows over training, and torch's default initial values.

    Args:
        widths: Channels of the four blocks.
        drop_rate: Share of each map that is dropped while training, in [0, 1).
        block_size: Side of the patches dropped in the last two blocks.

    Raises:
        ValueError: `widths` is not four positive numbers, or another argument lies outside its range.

    Example:
        >>> backbone = ResNet12((8, 8, 8, 16))
        >>> backbone.build((3, 32, 32))
        >>> backbone.num_features
        16
    """

    def __init__(
        self, widths: Sequence[int] = (64, 160, 320, 640), drop_rate: float = 0.1, block_size: int = 5
    ) -> None:
        super().__init__()
        if len(widths) != 4 or min(widths) < 1:
            raise ValueError(
                f"`widths={list(widths)}` must be four positive numbers, the channels of the blocks."
            )
        self.widths = tuple(widths)
        self.drop_rate = drop_rate
        self.block_size = block_size
        DropBlock(drop_rate, block_size)  # checks both

    def make(self, image_shape: tuple[int, int, int]) -> int:
        """Make the four blocks; images of less than 16 pixels a side are refused."""
        channels, *size = image_shape
        height, width = halved((size[0], size[1]), len(self.widths), type(self).__name__)
        drops = (1, 1, self.block_size, self.block_size)
        inputs = (channels, *self.widths[:-1])
        self.blocks = nn.Sequential(
            *(
                _Block(n_in, n_out, DropBlock(self.drop_rate, patch))
                for n_in, n_out, patch in zip(inputs, self.widths, drops, strict=True)
            )
        )
        self.blocks.to(memory_format=torch.channels_last)
        self.map_shape = (self.widths[-1], height, width)
        return self.widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of normalized images ``[n, C, H, W]``."""
        return self.pool(self.maps(images))

    def maps(self, images: Tensor) -> Tensor:
        """Return maps ``[n, widths[3], H // 16, W // 16]`` of normalized images ``[n, C, H, W]``."""
        maps: Tensor = self.blocks(images.contiguous(memory_format=torch.channels_last))
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean over each map, ``[n, D]``."""
        return maps.mean(dim=(2, 3))


class _Block(nn.Module):
    """Residual block that halves the map: ``[n, n_in, H, W]`` to ``[n, n_out, H // 2, W // 2]``."""

    def __init__(self, n_in: int, n_out: int, drop: DropBlock) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_convolution(n_in, n_out, 3),
            nn.LeakyReLU(0.1),
            *_convolution(n_out, n_out, 3),
            nn.LeakyReLU(0.1),
            *_convolution(n_out, n_out, 3),
        )
        self.shortcut = nn.Sequential(*_convolution(n_in, n_out, 1))
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.LeakyReLU(0.1)
        self.drop = drop

    def forward(self, maps: Tensor) -> Tensor:
        # Max-pool and LeakyReLU are monotone and commute; pooled first, three quarters of the work is saved.
        summed: Tensor = self.trunk(maps) + self.shortcut(maps)
        dropped: Tensor = self.drop(self.relu(self.pool(summed)))
        return dropped


def _convolution(n_in: int, n_out: int, side: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(n_in, n_out, side, padding=side // 2, bias=False), nn.BatchNorm2d(n_out)
