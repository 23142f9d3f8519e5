"""Logistic regression on each episode."""

from torch import Tensor

from psst.fewshot.head import positive
from psst.fewshot.kernel import DualHead, dual_step

_STEPS = 25  # of Newton's method; enough for probabilities down to e^-20


class LogisticHead(DualHead):
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

    directions = True

    def __init__(self, cost: float = 1.0) -> None:
        super().__init__()
        self.cost, self.factor = positive("cost", cost), 1.0

    def duals(self, kernel: Tensor, targets: Tensor) -> Tensor:
        """Return A ``[B, NS, N]``, differentiable by ``kernel`` ``[B, NS, NS]``."""
        cost, fixed = self.cost, kernel.detach()
        duals = cost * (targets - 1 / targets.shape[2])
        for _ in range(_STEPS):
            guesses = targets - duals / cost
            step = dual_step(fixed, 1 / (cost * guesses), guesses.log() - fixed @ duals)
            nearest = (step / (cost * guesses)).amax(dim=(1, 2), keepdim=True)
            duals = duals + 0.9 / nearest.clamp(min=0.9) * step  # short of where a probability would be 0
        guesses = targets - duals / cost
        return duals + dual_step(fixed, 1 / (cost * guesses), guesses.log() - kernel @ duals)
