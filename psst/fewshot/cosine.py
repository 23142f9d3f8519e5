"""Cosines to class means, with a learned scale."""

import torch
from torch import Tensor, nn

from psst.fewshot.head import Head, cosines, positive, precise, prototypes


class CosineHead(Head):
    r"""Classify by cosines to class means: :math:`s \cos(q, p_n)`, s learned.

    :math:`p_n` is the mean of the support features as they are, so that long ones count for more; in
    `PrototypicalHead` with the cosine they are brought to one length first, and s is fixed.

    Args:
        scale: First value of s.

    Raises:
        ValueError: `scale` is not above 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8]]])
        >>> CosineHead()(support, torch.tensor([[0, 1]]), query, 2).detach()
        tensor([[[6., 8.]]])

    References:
        Chen, Liu, Xu, Darrell, Wang, Meta-Baseline, 2021 (arXiv:2003.04390).
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)
        self.factor = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            return self.factor * cosines(query, prototypes(support, support_labels, n_way))
