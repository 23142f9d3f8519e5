"""The loss of a few-shot head on episodes."""

import torch
from torch import Tensor

from psst.components import as_component
from psst.episodes import Batch
from psst.fewshot import Head
from psst.tasks.encode import MAIN, Encode
from psst.tasks.task import MainTask

__all__ = ["Episodic"]


class Episodic(MainTask):
    """Classify the queries of training episodes by their supports: as it is tested, so it trains.

    The main task of prototypical networks and their kin. Beside `GlobalClasses` on batches of both kinds
    (``batches: mixed``) it is an auxiliary task under another `name`.

    Args:
        head: Turns features of support and query into logits; a description of one is accepted too.
        name: ``main``, or that of the auxiliary task.

    References:
        Vinyals et al., Matching Networks for One Shot Learning, 2016 (arXiv:1606.04080), for the episodes.

    Example:
        >>> task = Episodic(PrototypicalHead())
    """

    def __init__(self, head: Head, name: str = MAIN) -> None:
        super().__init__(as_component("head", head, Head))
        self.name = name
        self.maps = self.head.maps

    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the head's loss on all queries; None for a batch without labels.

        Raises:
            TypeError: The labeled images of the batch are no episodes.
        """
        part = batch.episodes
        if part is None or part.shape is None or part.targets is None:
            if batch.labeled is None:
                return None
            raise TypeError(
                f"`{self.name}` is Episodic, which trains on episodes, and the batch has none; set "
                "`data.init_args.batches` to `episodes` or `mixed`, or choose psst.tasks.GlobalClasses."
            )
        shape = part.shape
        features = _by_episode(encode(part, maps=self.maps), shape.episodes)
        targets = _by_episode(part.targets, shape.episodes)
        sizes = [shape.n_support, features.shape[1] - shape.n_support]
        support, query = torch.split(features, sizes, dim=1)
        support_labels, query_labels = torch.split(targets, sizes, dim=1)
        loss, logits = self.head.loss(support, support_labels, query, query_labels, shape.way)
        self._note(logits, query_labels)
        return loss

    def chance(self, batch: Batch) -> float | None:
        """Return that of the head, such as log N."""
        return None if batch.shape is None else self.head.chance(batch.shape.way)


def _by_episode(rows: Tensor, n_episodes: int) -> Tensor:
    return rows.reshape(n_episodes, -1, *rows.shape[1:])
