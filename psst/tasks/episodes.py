"""An episodic loss beside a classifier over all training classes."""

import math

import torch
from torch import Tensor

from psst.backbones import Setup
from psst.components import as_component
from psst.episodes import Batch
from psst.fewshot import Head
from psst.tasks.episodic import head_loss
from psst.tasks.task import Encode, Task


class Episodes(Task):
    """Classify queries by the supports of an episode: as it is tested, so it trains beside `GlobalClasses`.

    It takes the episodes of the batch. A batch of classes alone has none: there one is made of its rows, of
    classes with more than `shot` of them, each class with `shot` supports and at most `query` queries. Those
    rows the main task has encoded already. Which rows belong to one group is not known there: where the data
    have groups, take ``batches: mixed``.

    Args:
        head: Turns features of support and query into logits; a description of one is accepted too.
        way: At most so many classes of an episode that is made of rows.
        shot: Supports a class of it.
        query: At most so many queries a class of it.

    Raises:
        ValueError: `way` is below 2, or another number below 1.

    References:
        Vinyals et al., Matching Networks for One Shot Learning, 2016 (arXiv:1606.04080), for the episodes.

    Example:
        >>> FewShotModule(Conv4(), GlobalClasses(head), auxiliary=[Episodes(PrototypicalHead(), shot=2)])
    """

    name = "episodes"

    def __init__(self, head: Head, way: int = 20, shot: int = 1, query: int = 5) -> None:
        super().__init__()
        for argument, value, least in (("way", way, 2), ("shot", shot, 1), ("query", query, 1)):
            if value < least:
                raise ValueError(f"`{argument}={value}` must be at least {least}.")
        self.head = as_component("head", head, Head)
        self.way, self.shot, self.query = way, shot, query
        self.maps = self.head.maps

    def build(self, setup: Setup) -> None:
        """Make the layers of the head."""
        self.head.build(setup)

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the head's loss on all queries; None where fewer than two classes have rows enough."""
        if batch.episodes is not None:
            return head_loss(self.head, batch.episodes, encode)[0]
        if batch.labeled is None:
            return None
        rows, targets, n_support, way = self._episode(batch.labeled.labels, draws)
        if way < 2:
            return None
        features = encode(batch.labeled.take(rows), maps=self.maps)[None]
        targets = targets.to(features.device)[None]
        support, query = features[:, :n_support], features[:, n_support:]
        return self.head.loss(support, targets[:, :n_support], query, targets[:, n_support:], way)[0]

    def chance(self, batch: Batch) -> float | None:
        """Return log N; None where there is no episode."""
        if batch.shape is not None:
            return math.log(batch.shape.way)
        if batch.labeled is None:
            return None
        way = self._episode(batch.labeled.labels, torch.Generator())[3]
        return math.log(way) if way > 1 else None

    def _episode(self, labels: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, int, int]:
        """Return rows, supports first, the class of each in [0, N), the number of supports, and N."""
        order = torch.randperm(len(labels), generator=draws)
        labels = labels.cpu()[order]  # how many rows there are depends on them
        same = labels[:, None] == labels
        place = same.tril(-1).sum(1)  # of a row among those of its class
        classes = labels[(place == 0) & (same.sum(1) > self.shot)]
        classes = classes[torch.randperm(len(classes), generator=draws)[: self.way]]
        is_class = labels[:, None] == classes
        chosen, targets = is_class.any(1), is_class.int().argmax(1) if len(classes) else labels
        support = (chosen & (place < self.shot)).nonzero()[:, 0]
        query = (chosen & (place >= self.shot) & (place < self.shot + self.query)).nonzero()[:, 0]
        rows = torch.cat([support, query])
        return order[rows], targets[rows], len(support), len(classes)
