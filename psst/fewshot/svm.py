"""A multi-class support vector machine on each episode."""

import torch
from torch import Tensor, nn

from psst.fewshot.head import positive
from psst.fewshot.kernel import DualHead, dual_step

_STEPS = 25  # of the interior point method; 20 reach the end for 2 to 20 classes at any size of the features
_END = 1e-10  # where the barrier ends, relative to the size of the dual variables
_RIDGE = 1e-8  # on the kernel, relative to its mean diagonal, for more supports than features


class SVMHead(DualHead):
    r"""Classify by the multi-class support vector machine of Crammer and Singer.

    :math:`\min_{w, \xi} \frac12 \sum_n \lVert w_n \rVert^2 + C \sum_i \xi_i` with
    :math:`w_{y_i}^\top x_i - w_n^\top x_i \ge 1 - [n = y_i] - \xi_i`; logits are :math:`s\, w_n^\top q`. Its
    dual, :math:`\min_A \frac12 \langle A, K A \rangle - \langle A, Y \rangle` with :math:`A \le C Y` and rows
    that add up to 0, is solved by a primal-dual interior point method, all episodes at once, in float64 where
    the device has it. Gradients come from the implicit function theorem at the solution; twice differentiable
    it is not.

    Args:
        cost: C.
        scale: First value of s, which is learned.

    Raises:
        ValueError: One of them is not above 0.

    Example:
        >>> support, query = 10 * torch.eye(2)[None], torch.tensor([[[6.0, 8.0]]])
        >>> SVMHead()(support, torch.tensor([[0, 1]]), query, 2).detach().round(decimals=3)
        tensor([[[-0.1000,  0.1000]]])

    References:
        Lee, Maji, Ravichandran, Soatto, MetaOptNet, 2019 (arXiv:1904.03758), section 3.2; Crammer and Singer,
        JMLR 2, 2001. Departure: a ridge of 1e-8 on the kernel, not of 1.
    """

    def __init__(self, cost: float = 0.1, scale: float = 1.0) -> None:
        super().__init__()
        self.cost = positive("cost", cost)
        self.scale = positive("scale", scale)
        self.factor = nn.Parameter(torch.tensor(float(scale)))

    def duals(self, kernel: Tensor, targets: Tensor) -> Tensor:
        """Return A ``[B, NS, N]``, differentiable by ``kernel`` ``[B, NS, NS]``."""
        cost, size = self.cost, kernel.detach().diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        kernel = kernel + _RIDGE * size * torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
        fixed, unit = kernel.detach(), cost / (1 + cost * size)
        others = (1 - targets) / max(1, targets.shape[2] - 1)
        duals = unit / 2 * (targets - others)
        multipliers = unit / (cost * targets - duals)
        for _ in range(_STEPS):
            slack = cost * targets - duals
            barrier = (0.1 * (multipliers * slack).mean(dim=(1, 2), keepdim=True)).maximum(_END * unit)
            curvature = multipliers / slack
            step = dual_step(fixed, curvature, targets - fixed @ duals - barrier / slack)
            change = barrier / slack - multipliers + curvature * step
            nearest = torch.maximum(step / slack, -change / multipliers).amax(dim=(1, 2), keepdim=True)
            length = 0.99 / nearest.clamp(min=0.99)  # short of where a slack or a multiplier would be 0
            duals, multipliers = duals + length * step, multipliers + length * change
        slack = cost * targets - duals
        residual = targets - kernel @ duals - _END * unit / slack
        return duals + dual_step(fixed, multipliers / slack, residual)
