"""Prototypes that the queries have a part in."""

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.fewshot.head import Head, cosines, positive, precise, prototypes


class PrototypeRectificationHead(Head):
    r"""Classify by cosines to class means that queries have a part in; transductive.

    Logits are :math:`s \cos(q + \xi, p'_n)`, where :math:`\xi` moves the mean of the queries onto that of the
    supports. Every query is given to the class whose mean :math:`p_n` is nearest by cosine, and :math:`p'_n`
    is the mean over supports and queries x of class n, weighted by :math:`\exp(s \cos(x, p_n))`. It takes the
    queries for balanced over the classes, as the supports are.

    Args:
        scale: s.

    Raises:
        ValueError: `scale` is not above 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8], [0.8, 0.6]]])
        >>> PrototypeRectificationHead()(support, torch.tensor([[0, 1]]), query, 2).argmax(dim=2)
        tensor([[1, 0]])

    References:
        Liu, Song, Qin, Prototype Rectification for Few-Shot Learning, 2020 (arXiv:1911.10713).
        Departure: all queries of a class have a part in it, not the most certain ones only.
    """

    transductive = True

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            centers, query = rectified(support, support_labels, query, n_way, self.scale)
            return self.scale * cosines(query, centers)


def rectified(
    support: Tensor, support_labels: Tensor, query: Tensor, n_way: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the rectified class means ``[B, N, D]`` and the queries as moved, ``[B, NQ, D]``."""
    query = query + support.mean(dim=1, keepdim=True) - query.mean(dim=1, keepdim=True)
    images = torch.cat([support, query], dim=1)
    likeness = cosines(images, prototypes(support, support_labels, n_way))  # [B, NS + NQ, N]
    guesses = likeness[:, support.shape[1] :].argmax(dim=2)
    members = F.one_hot(torch.cat([support_labels, guesses], dim=1), n_way).bool()
    shares = (scale * likeness).masked_fill(~members, -torch.inf).softmax(dim=1)
    return shares.mT @ images, query
