"""The loss of a few-shot head on episodes."""

import torch
from torch import Tensor

from psst.components import as_component
from psst.episodes import Batch
from psst.fewshot import Head
from psst.tasks.task import MAIN, Encode, MainTask


class Episodic(MainTask):
    """Classify the queries of training episodes by their supports: as it is tested, so it trains.

    The main task of prototypical networks and their kin; beside `GlobalClasses` take `Episodes`.

    Args:
        head: Turns features of support and query into logits; a description of one is accepted too.

    References:
        Vinyals et al., Matching Networks for One Shot Learning, 2016 (arXiv:1606.04080), for the episodes.

    Example:
        >>> task = Episodic(PrototypicalHead())
    """

    name = MAIN

    def __init__(self, head: Head) -> None:
        super().__init__(as_component("head", head, Head))
        self.maps = self.head.maps

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the head's loss on all queries; None for a batch without labels.

        Raises:
            TypeError: The labeled images of the batch are no episodes.
        """
        part = batch.episodes
        if part is None:
            if batch.labeled is None:
                return None
            raise TypeError(
                "`main` is Episodic, which trains on episodes, and the batch has none; set "
                "`data.init_args.batches` to `episodes` or `mixed`, or choose psst.tasks.GlobalClasses."
            )
        loss, logits, labels = head_loss(self.head, part, encode)
        self._note(logits, labels)
        return loss

    def chance(self, batch: Batch) -> float | None:
        """Return that of the head, such as log N."""
        return None if batch.shape is None else self.head.chance(batch.shape.way)


def head_loss(head: Head, part: Batch, encode: Encode) -> tuple[Tensor, Tensor, Tensor]:
    """Return a head's loss on the rows of episodes, the logits ``[B, NQ, N]`` and the queries' labels."""
    shape, targets = part.shape, part.targets
    assert shape is not None  # rows of episodes have both
    assert targets is not None
    by_episode = shape.episodes, -1
    features = torch.unflatten(encode(part, maps=head.maps), 0, by_episode)
    sizes = [shape.way * shape.shot, features.shape[1] - shape.way * shape.shot]
    support, query = torch.split(features, sizes, dim=1)
    support_labels, query_labels = torch.split(torch.unflatten(targets, 0, by_episode), sizes, dim=1)
    loss, logits = head.loss(support, support_labels, query, query_labels, shape.way)
    return loss, logits, query_labels
