"""ResNet-12, the larger backbone of the few-shot benchmarks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones.backbone import MapBackbone, halved


class ResNet12(MapBackbone):
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
        self.widths, self.drop_rate, self.block_size = tuple(widths), drop_rate, block_size
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


class DropBlock(nn.Module):
    r"""Zero square patches of each channel while training, and rescale what is left (arXiv:1810.12890).

    Patches of the side b lie wholly inside the map. Their centers are Bernoulli with rate
    :math:`\gamma = p \, HW / (b^2 (H-b+1)(W-b+1))`, so that about the share p of a map is dropped. Where
    the map is smaller than the patch, the patch shrinks to the map, side by side: on a 5 x 5 map or less,
    `block_size=5` drops whole channels. ``block_size=1`` is dropout. Departure: the rate is constant.
    """

    def __init__(self, drop_rate: float = 0.1, block_size: int = 5) -> None:
        super().__init__()
        if not 0.0 <= drop_rate < 1.0:
            raise ValueError(
                f"`drop_rate={drop_rate}` must lie in [0, 1), the share of a map that is dropped."
            )
        if block_size < 1:
            raise ValueError(f"`block_size={block_size}` must be at least 1, the side of a dropped patch.")
        self.drop_rate = drop_rate
        self.block_size = block_size

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps ``[n, C, H, W]`` with patches dropped; unchanged in evaluation."""
        if not self.training or self.drop_rate == 0.0:
            return maps
        height, width = maps.shape[-2:]
        b_height, b_width = min(self.block_size, height), min(self.block_size, width)
        inner = (height - b_height + 1, width - b_width + 1)
        rate = self.drop_rate * height * width / (b_height * b_width * inner[0] * inner[1])
        corners = torch.rand(*maps.shape[:2], *inner, device=maps.device) < rate
        # A corner marks the patch below and to the right of it: pad, then spread by a running maximum.
        padded = F.pad(corners.to(maps.dtype), (b_width - 1, b_width - 1, b_height - 1, b_height - 1))
        kept = 1.0 - F.max_pool2d(padded, (b_height, b_width), stride=1)
        return maps * kept * (kept.numel() / kept.sum().clamp_min(1.0))


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
