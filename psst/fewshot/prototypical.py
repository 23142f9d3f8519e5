"""Prototypical networks."""

import torch
from torch import Tensor

from psst.fewshot.head import Head

__all__ = ["PrototypicalHead"]


class PrototypicalHead(Head):
    r"""Classify by the nearest class mean: :math:`\mathrm{logit}_n = -\lVert q - p_n \rVert^2`.

    :math:`p_n` is the mean of the support features of class n. The squared distances are computed from inner
    products, after moving the origin to the episode's mean support, so that features far from zero lose
    no digits; in float32 or better under mixed precision too.

    Example:
        >>> support, query = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[0.5]]])
        >>> PrototypicalHead()(support, torch.tensor([[0, 1]]), query, 2)
        tensor([[[-0.2500, -2.2500]]])

    References:
        Snell, Swersky, Zemel, Prototypical Networks for Few-shot Learning, 2017 (arXiv:1703.05175).
    """

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``.

        A class without a support gets NaN logits.
        """
        precise = torch.promote_types(support.dtype, torch.float32)
        with torch.autocast(support.device.type, enabled=False):
            support, query = support.to(precise), query.to(precise)
            origin = support.mean(dim=1, keepdim=True).detach()
            centers = prototypes(support - origin, support_labels, n_way)
            query = query - origin
            products = query @ centers.transpose(1, 2)
            squares = query.square().sum(dim=2)[:, :, None] + centers.square().sum(dim=2)[:, None, :]
            return 2.0 * products - squares


def prototypes(support: Tensor, support_labels: Tensor, n_way: int) -> Tensor:
    """Return the class means ``[B, N, D]`` of ``support`` ``[B, NS, D]`` labelled ``[B, NS]``."""
    classes = torch.arange(n_way, device=support_labels.device)
    membership = (support_labels[:, None, :] == classes[:, None]).to(support.dtype)  # [B, N, NS]
    return membership @ support / membership.sum(dim=2, keepdim=True)
