"""Linear classifiers of an episode by their dual variables, one a support and class."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.fewshot.head import Head, precise


class DualHead(Head):
    """Classify by weights that the dual variables add up from the supports; in float64 where there is any."""

    factor: Tensor | float  # of the logits
    directions: bool = False  # whether features are brought to length 1

    @abstractmethod
    def duals(self, kernel: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, NS, N]`` of the supports' inner products ``[B, NS, NS]`` and one-hot labels."""

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        dtype = torch.promote_types(support.dtype, torch.float32)
        with precise(support, query, least=torch.float64) as (support, query):
            if self.directions:
                support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
            targets = F.one_hot(support_labels, n_way).to(support.dtype)
            duals = self.duals(support @ support.mT, targets)
            return (self.factor * query @ (support.mT @ duals)).to(dtype)


def dual_step(kernel: Tensor, curvature: Tensor, residual: Tensor) -> Tensor:
    r"""Return the Newton step of a problem whose dual variables of a support add up to 0 over the classes.

    Solves :math:`(K + \mathrm{diag}(d_n)) \Delta_n + \nu = r_n` for every class n with
    :math:`\sum_n \Delta_n = 0`, by one factorization of ``[NS, NS]`` a class and one of the Schur complement
    for :math:`\nu`: systems as large as the support, not as the features. It is linear in `residual`, through
    which gradients pass. K are the inner products ``[B, NS, NS]`` of the supports; d, positive, r and the
    step are ``[B, NS, N]``.
    """
    blocks = kernel[:, None] + torch.diag_embed(curvature.mT)
    inverses = torch.cholesky_inverse(torch.linalg.cholesky(blocks))  # [B, N, NS, NS]
    free = (inverses @ residual.mT[..., None])[..., 0]
    shared = torch.linalg.solve(inverses.sum(dim=1), free.sum(dim=1)[..., None])
    step: Tensor = (free - (inverses @ shared[:, None])[..., 0]).mT
    return step
