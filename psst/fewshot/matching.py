"""Matching networks."""

import torch
from torch import Tensor

from psst.fewshot.head import Head, cosines, positive, precise


class MatchingHead(Head):
    r"""Classify by attention over the supports: :math:`p_n = \sum_{i: y_i = n} a(q, x_i)`.

    :math:`a(q, x_i)` is the softmax over all supports of :math:`s \cos(q, x_i)`. Logits are
    :math:`\log \sum_{i: y_i = n} \exp(s \cos(q, x_i))`, whose softmax is :math:`p_n`.

    Args:
        scale: s. The paper has 1, with which no probability comes near 1.

    Raises:
        ValueError: `scale` is not above 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8]]])
        >>> MatchingHead()(support, torch.tensor([[0, 1]]), query, 2)
        tensor([[[6., 8.]]])

    References:
        Vinyals et al., Matching Networks for One Shot Learning, 2016 (arXiv:1606.04080), eq. 1, without full
        context embeddings.
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            attention = self.scale * cosines(query, support)
            members = support_labels[:, None] == torch.arange(n_way, device=support.device)[:, None]
            return attention[:, :, None].masked_fill(~members[:, None], -torch.inf).logsumexp(dim=3)
