"""Relation networks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup
from psst.fewshot.head import Head, prototypes


class RelationHead(Head):
    r"""Compare a query's map with each class's mean map by a small network.

    :math:`r_n = \sigma(g([m_n, q]))`, where g are two blocks of 3 x 3 convolution, normalization and ReLU,
    the mean over the map, and two linear layers. Its first convolution is computed once a map and added up
    once a pair. Logits are g; training brings r to 1 for the query's class and to 0 for the others, by
    squared error.

    Args:
        hidden: Channels of the convolutions.

    Raises:
        ValueError: `hidden` is below 1; at `build`: the backbone has no maps.

    Example:
        >>> head = RelationHead(hidden=32)
        >>> head.build(setup)  # of an encoder with maps [n, C', h, w]
        >>> logits = head(support, support_labels, query, 5)  # [B, NS, C', h, w] and [B, NQ, C', h, w]

    References:
        Sung et al., Learning to Compare, 2018 (arXiv:1711.06025), eq. 1 and 2. Departures: a class's map is
        the mean of its supports', not their sum; normalization over each pair (GroupNorm of one group), not
        over the batch, by which queries would know of each other; a mean over the map in place of max-pools.
    """

    maps = True

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"`hidden={hidden}` must be at least 1, the number of channels.")
        self.hidden = hidden

    def build(self, setup: Setup) -> None:
        """Make g for the maps of the backbone."""
        self.of_class = nn.Conv2d(setup.map_channels, self.hidden, 3, padding=1)
        self.of_query = nn.Conv2d(setup.map_channels, self.hidden, 3, padding=1, bias=False)
        self.compare = nn.Sequential(
            nn.GroupNorm(1, self.hidden),
            nn.ReLU(),
            nn.Conv2d(self.hidden, self.hidden, 3, padding=1),
            nn.GroupNorm(1, self.hidden),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.hidden, 8),
            nn.ReLU(),
            nn.Linear(8, 1),
        )

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return logits ``[B, NQ, N]`` of ``query`` ``[B, NQ, C', h, w]`` given ``support`` maps."""
        n_episodes, n_query, *shape = query.shape
        centers = prototypes(support.flatten(2), support_labels, n_way).reshape(-1, *shape)
        classes = self.of_class(centers).unflatten(0, (n_episodes, 1, n_way))
        queries = self.of_query(query.flatten(0, 1)).unflatten(0, (n_episodes, n_query, 1))
        scores: Tensor = self.compare((classes + queries).flatten(0, 2))
        return scores.reshape(n_episodes, n_query, n_way)

    def loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor, n_way: int
    ) -> tuple[Tensor, Tensor]:
        """Return the mean squared error of the relation scores, and the logits ``[B, NQ, N]``."""
        logits = self(support, support_labels, query, n_way)
        wanted = F.one_hot(query_labels, n_way).to(logits.dtype)
        return F.mse_loss(torch.sigmoid(logits), wanted), logits

    def chance(self, n_way: int) -> float:
        """Return the error of the constant score 1 / N."""
        return (1 - 1 / n_way) / n_way
