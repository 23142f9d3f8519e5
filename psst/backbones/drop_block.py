"""DropBlock, dropout for maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DropBlock(nn.Module):
    r"""Zero square patches of each channel while training, and rescale what is left.

    Patches lie wholly inside the map. Their centers are Bernoulli with rate
    :math:`\gamma = p \, HW / (b^2 (H-b+1)(W-b+1))`, so that about the share p of a map is dropped. Where
    the map is smaller than the patch, the patch shrinks to the map, side by side: on a 5 x 5 map or less,
    `block_size=5` drops whole channels. ``block_size=1`` is dropout.

    Args:
        drop_rate: p, share of the map to drop, in [0, 1).
        block_size: b, side of a patch.

    Raises:
        ValueError: An argument lies outside its range.

    Example:
        >>> DropBlock(drop_rate=0.1, block_size=3).eval()(torch.ones(1, 2, 8, 8)).sum()
        tensor(128.)

    References:
        Ghiasi et al., DropBlock, 2018 (arXiv:1810.12890). Departure: the rate is constant over training.
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
