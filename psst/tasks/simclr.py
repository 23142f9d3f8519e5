"""Find the other crop of the same image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.episodes import Batch
from psst.fewshot.head import positive
from psst.images.view import View
from psst.tasks.task import Encode, Task


class SimCLR(Task):
    """Tell which of all crops in the batch comes from the same image: NT-Xent on a projection.

    Two crops of every image, other than the main task's, in one forward pass; labels are not used.

    Args:
        temperature: Of the softmax.
        width: Length of a projected feature; 0 contrasts the features themselves, as suits an adapter: the
            projection would cost more than all of it.
        policy: Name of the augmentation in the data module that makes the crops; it must change images.

    Raises:
        ValueError: A number is out of its range.

    References:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020
        (arXiv:2002.05709), eq. 1. Departure: batches of few-shot training are smaller than theirs.

    Example:
        >>> Glyphs(augmentations={"main": Augmentation(resized_crop=(0.5, 1.0))})
        >>> FewShotModule(Conv4(), Episodic(PrototypicalHead()), auxiliary=[SimCLR()])
    """

    name = "simclr"

    def __init__(self, temperature: float = 0.5, width: int = 128, policy: str = "main") -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        if width < 0:
            raise ValueError(f"`width={width}` must be at least 0; 128 is usual, 0 for no projection.")
        self.width, self.policy = width, policy

    def views(self) -> tuple[View, ...]:
        """Return two crops."""
        return View(crop=1, policy=self.policy), View(crop=2, policy=self.policy)

    def build(self, setup: Setup) -> None:
        """Make the projection."""
        self.projection = projection(setup.num_features, self.width)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return NT-Xent over both crops of all images, unlabeled ones included."""
        projected = self.projection(encode(batch, *self.views()).flatten(0, 1))
        return contrast(projected, self._identities(batch).repeat(2), self.temperature)

    def chance(self, batch: Batch) -> float | None:
        """Return log(2n - 1): any of the other crops."""
        return math.log(2 * len(batch) - 1)

    def _identities(self, batch: Batch) -> Tensor:
        """Return a number for each image, ``[n]``; those of one number belong together."""
        return torch.arange(len(batch), device=batch.ids.device)


def projection(n_features: int, width: int) -> nn.Module:
    """Return a network of two layers, ``[n, D]`` to ``[n, width]``; for width 0 the features as they are."""
    if width == 0:
        return nn.Identity()
    return nn.Sequential(nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, width))


def contrast(projected: Tensor, identities: Tensor, temperature: float) -> Tensor:
    r"""Return the supervised contrastive loss (arXiv:2004.11362, eq. 2); of two rows each it is NT-Xent.

    The mean over anchors i of :math:`-\frac{1}{|P(i)|} \sum_{p \in P(i)} \log \frac{\exp(z_i \cdot z_p /
    \tau)}{\sum_{a \ne i} \exp(z_i \cdot z_a / \tau)}`, with z of length 1, in float32 or better. P(i) are the
    other rows, at least one, of the same of the ``identities`` ``[n]``.
    """
    with torch.autocast(projected.device.type, enabled=False):
        unit = F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=1)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        products = unit @ unit.detach().T
        if products.requires_grad:  # the other factor's part is the transpose: one product backward, not two
            products.register_hook(lambda one: one + one.T)  # type: ignore[no-untyped-call]  # untyped in torch
        scores = (products / temperature).masked_fill(itself, -torch.inf)
        positive = (identities[:, None] == identities) & ~itself
        log_shares = scores.log_softmax(dim=1).masked_fill(~positive, 0.0)  # -inf times 0 is no number
        return -(log_shares.sum(dim=1) / positive.sum(dim=1)).mean()
