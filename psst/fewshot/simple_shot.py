"""Nearest class means of centered directions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.backbones import Setup
from psst.fewshot.head import Head, precise, prototypes, squared_distances

_SHARE = 0.01  # of a batch in the running mean


class SimpleShotHead(Head):
    r"""Classify by the nearest class mean of centered directions: :math:`-\lVert u(q) - p_n \rVert^2`.

    :math:`u(f) = (f - \mu) / \lVert f - \mu \rVert`, and :math:`p_n` is the mean of u over the supports of
    class n. :math:`\mu` is the mean of training features: a running mean over what `GlobalClasses` trains on,
    kept with the weights, or that of the features given to `observe`. Without either it is 0.

    Example:
        >>> head = SimpleShotHead()
        >>> head.observe(torch.tensor([[1.0, 1.0]]))
        >>> support, query = torch.tensor([[[2.0, 1.0], [1.0, 3.0]]]), torch.tensor([[[1.0, 0.5]]])
        >>> head(support, torch.tensor([[0, 1]]), query, 2)
        tensor([[[-2., -4.]]])

    References:
        Wang, Chao, Weinberger, van der Maaten, SimpleShot, 2019 (arXiv:1911.04623), CL2N of section 3.
    """

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(1))

    def build(self, setup: Setup) -> None:
        """Make room for the mean of features ``[n, D]``."""
        self.center = self.center.new_zeros(setup.num_features)

    def observe(self, features: Tensor) -> None:
        """Take the mean of training features ``[n, D]``: the first whole, a hundredth of each later one."""
        mean = features.detach().to(self.center.dtype).mean(dim=0)
        share = torch.where(self.center.any(), _SHARE, 1.0)
        self.center = self.center + share * (mean - self.center)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            support, query = (F.normalize(part - self.center, dim=2) for part in (support, query))
            return -squared_distances(query, prototypes(support, support_labels, n_way))
