"""Linear classifiers of an episode by their dual variables, one a support and class."""

import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(labels: Tensor, n_way: int, like: Tensor) -> Tensor:
    """Return ``[B, NS, N]`` of the labels ``[B, NS]``, in the dtype of another tensor."""
    return F.one_hot(labels, n_way).to(like.dtype)


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
