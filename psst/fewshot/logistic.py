"""Logistic regression on each episode."""

import torch
from torch import Tensor
from torch.nn import functional as F

from psst.fewshot.head import Head, positive, precise
from psst.fewshot.kernel import dual_step, one_hot

_STEPS = 25  # of Newton's method; enough for probabilities down to e^-20


class LogisticHead(Head):
    r"""Classify by logistic regression on directions.

    :math:`\min_w C \sum_i \mathrm{CE}(w x_i, y_i) + \frac12 \lVert w \rVert^2` with features of length 1 and
    no intercept; logits are :math:`w q`. Its dual, over A of rows that add up to 0 with
    :math:`w = A^\top X` and :math:`A = C (Y - P)`, is solved by Newton's method, all episodes at once, in
    float64 where the device has it. Gradients come from the implicit function theorem at the solution; twice
    differentiable it is not.

    Args:
        cost: C, that of scikit-learn's `LogisticRegression`; half of it for two classes.

    Raises:
        ValueError: `cost` is not above 0.

    Example:
        >>> support, query = torch.eye(2)[None], torch.tensor([[[0.6, 0.8]]])
        >>> LogisticHead()(support, torch.tensor([[0, 1]]), query, 2).softmax(dim=2)
        tensor([[[0.4663, 0.5337]]])

    References:
        Tian, Wang, Krishnan, Tenenbaum, Isola, Rethinking Few-Shot Image Classification, 2020
        (arXiv:2003.11539), its base learner. Departure: no intercept.
    """

    def __init__(self, cost: float = 1.0) -> None:
        super().__init__()
        self.cost = positive("cost", cost)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        dtype = torch.promote_types(support.dtype, torch.float32)
        with precise(support, query, least=torch.float64) as (support, query):
            support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
            duals = _duals(support @ support.mT, one_hot(support_labels, n_way, support), self.cost)
            return (query @ (support.mT @ duals)).to(dtype)


def _duals(kernel: Tensor, targets: Tensor, cost: float) -> Tensor:
    """Return A ``[B, NS, N]``, differentiable by ``kernel`` ``[B, NS, NS]``."""
    fixed = kernel.detach()
    duals = cost * (targets - 1 / targets.shape[2])
    for _ in range(_STEPS):
        guesses = targets - duals / cost
        step = dual_step(fixed, 1 / (cost * guesses), guesses.log() - fixed @ duals)
        nearest = (step / (cost * guesses)).amax(dim=(1, 2), keepdim=True)
        duals = duals + 0.9 / nearest.clamp(min=0.9) * step  # short of where a probability would be 0
    guesses = targets - duals / cost
    return duals + dual_step(fixed, 1 / (cost * guesses), guesses.log() - kernel @ duals)
