"""Prototypes that are adapted to each other."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.fewshot.head import Head, positive, precise, prototypes, squared_distances


class FEATHead(Head):
    r"""Classify by class means that have seen each other: :math:`-\lVert q - \psi(p)_n \rVert^2 / T`.

    :math:`\psi(p) = \mathrm{LayerNorm}(p + W\, \mathrm{softmax}(W_q p (W_k p)^\top / \sqrt{D})\, W_v p)` is
    self-attention over the class means p of an episode. In training the images of a class, supports and
    queries, pass through :math:`\psi` as a set too, and have to be nearest to the mean of what comes out:
    this loss is added with weight `balance`.

    Args:
        temperature: T.
        balance: Weight of that loss; 0 leaves it out.

    Raises:
        ValueError: `temperature` is not above 0, or `balance` is below 0.

    Example:
        >>> head = FEATHead(temperature=16.0)
        >>> head.build(setup)  # of an encoder with features [n, D]
        >>> logits = head(support, support_labels, query, 5)  # [B, NS, D] and [B, NQ, D]

    References:
        Ye, Hu, Zhan, Sha, Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions, 2020
        (arXiv:1812.03664), the Transformer and its contrastive regularization. Departure: no dropout, whose
        draws a head has no key for.
    """

    def __init__(self, temperature: float = 64.0, balance: float = 0.1) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        if not balance >= 0:
            raise ValueError(f"`balance={balance}` must be at least 0; 0 leaves the second loss out.")
        self.balance = balance

    def build(self, setup: Setup) -> None:
        """Make the attention for features ``[n, D]``."""
        width = setup.num_features
        self.projections = nn.Linear(width, 3 * width, bias=False)
        nn.init.normal_(self.projections.weight, std=width**-0.5)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, D]`` given ``support`` ``[B, NS, D]``."""
        with precise(support, query) as (support, query):
            centers = self._adapted(prototypes(support, support_labels, n_way))
            return -squared_distances(query, centers) / self.temperature

    def loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor, n_way: int
    ) -> tuple[Tensor, Tensor]:
        """Return both cross-entropies added up, and the logits ``[B, NQ, N]``."""
        loss, logits = super().loss(support, support_labels, query, query_labels, n_way)
        if self.balance:
            with precise(torch.cat([support, query], dim=1)) as (images,):
                labels = torch.cat([support_labels, query_labels], dim=1)
                adapted = self._adapted(images, labels[:, :, None] == labels[:, None])
                distances = squared_distances(images, prototypes(adapted, labels, n_way))
                nearest = -distances.flatten(0, 1) / self.temperature
                loss = loss + self.balance * F.cross_entropy(nearest, labels.flatten())
        return loss, logits

    def chance(self, n_way: int) -> float:
        """Return log N of both losses, the second by its weight."""
        return (1 + self.balance) * super().chance(n_way)

    def _adapted(self, items: Tensor, together: Tensor | None = None) -> Tensor:
        """Return ``[B, n, D]``: what attention makes of items that see those they are together with."""
        wanted, offered, values = self.projections(items).chunk(3, dim=2)
        scores = wanted @ offered.mT / items.shape[2] ** 0.5
        if together is not None:
            scores = scores.masked_fill(~together, -torch.inf)
        adapted: Tensor = self.norm(items + self.output(scores.softmax(dim=2) @ values))
        return adapted
