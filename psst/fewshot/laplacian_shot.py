"""Labels that agree between neighboring queries."""

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.fewshot.head import Head, precise, squared_distances
from psst.fewshot.rectification import rectified


class LaplacianShotHead(Head):
    r"""Classify all queries together, so that neighbors get the same label; transductive.

    Minimizes :math:`\sum_q y_q^\top a_q + \frac{\lambda}{2} \sum_{q < p} w_{qp} \lVert y_q - y_p \rVert^2`
    over probabilities by :math:`y_q \leftarrow \mathrm{softmax}(-a_q + \lambda \sum_p w_{qp} y_p)`. Here
    :math:`a_{qn}` is the squared distance of directions to the class means of `PrototypeRectificationHead`,
    and :math:`w_{qp}` is 1 where two queries are each among the nearest of the other, 1/2 where one of them
    is. Logits are :math:`\log y_q`.

    Args:
        neighbors: How many are the nearest.
        smoothness: :math:`\lambda`; 0 leaves the neighbors out.
        steps: How often y is renewed.

    Raises:
        ValueError: `neighbors` or `steps` is below 1, or `smoothness` below 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8], [0.8, 0.6]]])
        >>> LaplacianShotHead()(support, torch.tensor([[0, 1]]), query, 2).argmax(dim=2)
        tensor([[1, 0]])

    References:
        Ziko, Dolz, Granger, Ben Ayed, Laplacian Regularized Few-Shot Learning, 2020 (arXiv:2006.15486),
        Algorithm 1. Departure: w is made symmetric, as their energy has it.
    """

    transductive = True

    def __init__(self, neighbors: int = 3, smoothness: float = 0.7, steps: int = 20) -> None:
        super().__init__()
        if min(neighbors, steps) < 1:
            raise ValueError(f"`neighbors={neighbors}` and `steps={steps}` must be at least 1.")
        if not smoothness >= 0:
            raise ValueError(f"`smoothness={smoothness}` must be at least 0.")
        self.neighbors, self.smoothness, self.steps = neighbors, smoothness, steps

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
            centers, query = rectified(support, support_labels, query, n_way, scale=10.0)
            query, centers = F.normalize(query, dim=2), F.normalize(centers, dim=2)
            unary = -squared_distances(query, centers)
            affinity = self.smoothness * self._affinity(query)
            logits = unary.log_softmax(dim=2)
            for _ in range(self.steps):
                logits = (unary + affinity @ logits.exp()).log_softmax(dim=2)
            return logits

    def _affinity(self, query: Tensor) -> Tensor:
        """Return w ``[B, NQ, NQ]``."""
        others = squared_distances(query, query).detach()
        others.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        nearest = others.topk(min(self.neighbors, query.shape[1] - 1), dim=2, largest=False).indices
        chosen = torch.zeros_like(others).scatter_(2, nearest, 1.0)
        return (chosen + chosen.mT) / 2
