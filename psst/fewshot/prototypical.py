"""Prototypical networks."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from psst.fewshot.head import Head, cosines, positive, precise, prototypes, squared_distances


class PrototypicalHead(Head):
    r"""Classify by the nearest class mean.

    :math:`\mathrm{logit}_n = -\lVert q - p_n \rVert^2`, or :math:`s \cos(q, p_n)`, where :math:`p_n` is the
    mean of the support features of class n, of length 1 each if the metric is the cosine. The squared
    distances are computed from inner products, after moving the origin to the episode's mean support, so that
    features far from zero lose no digits; in float32 or better under mixed precision too. A class without a
    support gets NaN logits.

    Args:
        metric: ``euclidean`` or ``cosine``.
        scale: s, of the cosines; the squared distances have none.

    Raises:
        ValueError: `metric` is neither, or `scale` is not above 0.

    Example:
        >>> support, query = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[0.5]]])
        >>> PrototypicalHead()(support, torch.tensor([[0, 1]]), query, 2)
        tensor([[[-0.2500, -2.2500]]])

    References:
        Snell, Swersky, Zemel, Prototypical Networks, 2017 (arXiv:1703.05175), eq. 1 and 2.
    """

    def __init__(self, metric: Literal["euclidean", "cosine"] = "euclidean", scale: float = 10.0) -> None:
        super().__init__()
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"`metric={metric}` must be `euclidean` or `cosine`.")
        self.metric = metric
        self.scale = positive("scale", scale)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            if self.metric == "cosine":
                centers = prototypes(F.normalize(support, dim=2), support_labels, n_way)
                return self.scale * cosines(query, centers)
            origin = support.mean(dim=1, keepdim=True).detach()
            return -squared_distances(query - origin, prototypes(support - origin, support_labels, n_way))
