"""Predict a frozen feature from a spoilt one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.tasks.task import Encode, Task


class FeatureReconstruction(Task):
    r"""Decode, from what an adapter makes of a spoilt frozen feature, the feature: mean of :math:`1 - \cos`.

    A share of the entries is replaced by the batch's mean, and noise is added to the others. The decoder is
    linear. Features are taken from the batch's mean, without which all of them point the same way.

    Args:
        noise: Its standard deviation, in units of that of the features.
        mask: Share of the entries that are replaced.

    Raises:
        ValueError: `noise` is negative, or `mask` not in [0, 1).

    References:
        Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008. Departure:
        the direction in place of the squared error.

    Example:
        >>> FewShotModule(adapter, GlobalClasses(PrototypicalHead()), auxiliary=[FeatureReconstruction()])
    """

    name = "feature_reconstruction"

    def __init__(self, noise: float = 0.1, mask: float = 0.5) -> None:
        super().__init__()
        if noise < 0:
            raise ValueError(f"`noise={noise}` must be at least 0; 0.1 is usual.")
        if not 0 <= mask < 1:
            raise ValueError(f"`mask={mask}` must be in [0, 1); 0.5 is usual.")
        self.noise, self.mask = noise, mask

    def build(self, setup: Setup) -> None:
        """Make the decoder; TypeError for a backbone without a frozen part."""
        backbone = setup.encoder.backbone
        if not backbone.has_frozen:
            raise TypeError(
                f"`{self.name}` needs a backbone with a frozen part, {type(backbone).__name__} has none; "
                "choose psst.backbones.Adapted, or leave the task out."
            )
        n_frozen = getattr(backbone, "num_frozen", setup.num_features)  # of a residual adapter the same
        self.decoder = nn.Linear(setup.num_features, int(n_frozen))

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean distance over all images, unlabeled ones included."""
        frozen = encode.frozen(batch)
        mean = frozen.mean(dim=0)
        wanted = frozen - mean
        noise = torch.randn(frozen.shape, generator=draws).to(wanted)
        kept = (torch.rand(frozen.shape, generator=draws) >= self.mask).to(wanted)
        spoilt = mean + kept * (wanted + self.noise * wanted.square().mean().sqrt() * noise)
        return (1 - F.cosine_similarity(self.decoder(encode.features(spoilt)), wanted, dim=1)).mean()
