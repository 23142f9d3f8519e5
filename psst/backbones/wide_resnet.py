"""Wide residual networks; WRN-28-10 is the largest backbone of the few-shot benchmarks."""

from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones.backbone import MapBackbone
from psst.backbones.resnet12 import DropBlock


class WideResNet(MapBackbone):
    """One convolution, three groups of residual blocks of which the last two halve the map, global average.

    WRN-depth-widen has (depth - 4) / 6 blocks a group, of 16, 32 and 64 times `widen` channels. Each block:
    BatchNorm, ReLU, 3 x 3 convolution, BatchNorm, ReLU, dropout, 3 x 3 convolution; the first of a group has
    a 1 x 1 convolution round both, behind its first ReLU. WRN-28-10 has 36.5 million parameters and 640
    features. Departure: torch's default initial values.

    Args:
        depth: Convolutions from the input to the features, 6 n + 4.
        widen: Factor of the channels.
        drop_rate: Share of values that is dropped between the convolutions of a block while training.

    Raises:
        ValueError: `depth` is no such number, `widen` is less than 1, or `drop_rate` lies outside [0, 1).

    References:
        Zagoruyko and Komodakis, Wide Residual Networks, 2016 (arXiv:1605.07146); in few-shot learning:
        Gidaris et al. 2019 (arXiv:1906.05186); Mangla et al. 2020 (arXiv:1907.12087).

    Example:
        >>> backbone = WideResNet(depth=10, widen=1)
        >>> backbone.build((3, 32, 32))
        >>> backbone.num_features, backbone.map_shape
        (64, (64, 8, 8))
    """

    def __init__(self, depth: int = 28, widen: int = 10, drop_rate: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"`depth={depth}` must be 6 n + 4 such as 10, 16 or 28.")
        if widen < 1:
            raise ValueError(f"`widen={widen}` must be at least 1; 10 is usual.")
        self.depth, self.widen, self.drop_rate = depth, widen, drop_rate
        DropBlock(drop_rate, 1)  # checks it

    def make(self, image_shape: tuple[int, int, int]) -> int:
        """Make the convolution and the three groups."""
        channels, *size = image_shape
        n_in, layers = 16, []
        for n_out, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range((self.depth - 4) // 6):
                drop = DropBlock(self.drop_rate, 1)
                layers.append(_Block(n_in, n_out * self.widen, stride if block == 0 else 1, drop))
                n_in = n_out * self.widen
        self.first = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(n_in)
        self.map_shape = (n_in, -(-size[0] // 4), -(-size[1] // 4))
        return n_in

    def maps(self, images: Tensor) -> Tensor:
        """Return maps ``[n, 64 * widen, H / 4, W / 4]``, sides rounded up, of normalized images."""
        return F.relu(self.norm(self.blocks(self.first(images))))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, drop: DropBlock) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.drop = drop
        same = n_in == n_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        active = F.relu(self.norm1(maps))
        added: Tensor = self.conv2(self.drop(F.relu(self.norm2(self.conv1(active)))))
        return added + (maps if self.shortcut is None else self.shortcut(active))
