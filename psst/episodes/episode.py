"""The typed batches of few-shot training."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from psst.episodes.tensors import TensorBatch


@dataclass(frozen=True)
class Episode(TensorBatch):
    """B episodes of N ways with S support images a class and N*Q queries, class by class.

    Attributes:
        support: ``[B, N*S, C, H, W]`` uint8 or float.
        support_labels: ``[B, N*S]`` int64 in ``[0, N)``.
        query: ``[B, N*Q, C, H, W]``.
        query_labels: ``[B, N*Q]`` int64 in ``[0, N)``; Q of each class unless the queries are unbalanced.
        class_ids: ``[B, N]`` int64, class of each label in the data set.
        index: ``[B]`` int64, place of each episode in its stream; keys all randomness of the step.
        class_names: B lists of N names.
        unlabeled: ``[B, U, C, H, W]``, images for the auxiliary tasks alone; None if there are none.
    """

    IMAGES: ClassVar[tuple[str, ...]] = ("support", "query", "unlabeled")

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    class_ids: Tensor
    index: Tensor
    class_names: list[list[str]]
    unlabeled: Tensor | None = None

    @property
    def n_way(self) -> int:
        """Number of classes, N."""
        return self.class_ids.shape[1]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class ClassBatch(TensorBatch):
    """Images of any of M classes, for a classifier over all of them.

    Attributes:
        images: ``[n, C, H, W]`` uint8 or float.
        labels: ``[n]`` int64 in ``[0, M)``.
        class_ids: ``[M]`` int64, class of each label in the data set.
        index: ``[1]`` int64, place of the batch in its stream; keys all randomness of the step.
    """

    IMAGES: ClassVar[tuple[str, ...]] = ("images",)

    images: Tensor
    labels: Tensor
    class_ids: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)
