"""Ridge regression in closed form."""

import math

import torch
from torch import Tensor, nn

from psst.fewshot.head import positive
from psst.fewshot.kernel import DualHead


class RidgeHead(DualHead):
    r"""Classify by ridge regression onto the one-hot labels.

    Logits are :math:`s\, q^\top X^\top (X X^\top + \lambda I)^{-1} Y`, where X are the supports, one a row.
    By Woodbury's identity the weights are :math:`(X^\top X + \lambda I)^{-1} X^\top Y`, from a system as
    large as the support and not as the features. :math:`\lambda` and s are learned; the system is solved in
    float64 where the device has it.

    Args:
        penalty: First value of :math:`\lambda`.
        scale: First value of s.

    Raises:
        ValueError: One of them is not above 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8]]])
        >>> RidgeHead()(support, torch.tensor([[0, 1]]), query, 2).detach()
        tensor([[[0.3000, 0.4000]]])

    References:
        Bertinetto, Henriques, Torr, Vedaldi, Meta-learning with differentiable closed-form solvers, 2019
        (arXiv:1805.08136), R2D2. Departure: their learned offset, the same for all classes, is left out, for
        the softmax does not see it.
    """

    def __init__(self, penalty: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.penalty = positive("penalty", penalty)
        self.scale = positive("scale", scale)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.factor = nn.Parameter(torch.tensor(float(scale)))

    def duals(self, kernel: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, NS, N]``: the solution of the system."""
        eye = torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
        duals: Tensor = torch.linalg.solve(kernel + self.log_penalty.exp() * eye, targets)
        return duals
