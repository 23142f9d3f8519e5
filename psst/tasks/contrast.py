"""What contrastive tasks share: a projection, and the loss over pairs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def projection(n_features: int, width: int) -> nn.Module:
    """Return a network of two layers, ``[n, D]`` to ``[n, width]``; for width 0 the features as they are."""
    if width == 0:
        return nn.Identity()
    return nn.Sequential(nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, width))


def contrast(projected: Tensor, identities: Tensor, temperature: float) -> Tensor:
    r"""Return the supervised contrastive loss.

    The mean over anchors i of :math:`-\frac{1}{|P(i)|} \sum_{p \in P(i)} \log \frac{\exp(z_i \cdot z_p /
    \tau)}{\sum_{a \ne i} \exp(z_i \cdot z_a / \tau)}`, with z of length 1.

    Args:
        projected: ``[n, d]``, of any length; in float32 or better from here on.
        identities: ``[n]`` integers; P(i) are the other rows of the same number, at least one.
        temperature: tau.

    References:
        Khosla et al., Supervised Contrastive Learning, 2020 (arXiv:2004.11362), eq. 2; with two rows of each
        number it is NT-Xent of Chen et al., SimCLR, 2020 (arXiv:2002.05709).
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
