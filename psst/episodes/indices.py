"""Drawn episodes before any image is read."""

from dataclasses import dataclass

import numpy as np

from psst.episodes.counters import Ids


@dataclass(frozen=True)
class EpisodeIndices:
    """Episodes with as many queries of each class.

    Attributes:
        class_ids: ``[B, N]`` classes of the data set; the column is the label in the episode.
        support: ``[B, N, S]`` image ids.
        query: ``[B, N, Q]`` image ids.
    """

    class_ids: Ids
    support: Ids
    query: Ids

    def labeled(self) -> "LabeledIndices":
        """Return the same episodes with their labels written out."""
        batch, way, n_query = self.query.shape
        labels = np.broadcast_to(np.repeat(np.arange(way), n_query), (batch, way * n_query))
        flat = (batch, -1)
        return LabeledIndices(self.class_ids, self.support.reshape(flat), self.query.reshape(flat), labels)


@dataclass(frozen=True)
class LabeledIndices:
    """Episodes of one shape, whose queries may be spread unevenly over the classes.

    Attributes:
        class_ids: ``[B, N]`` classes of the data set.
        support: ``[B, N*S]`` image ids, class by class.
        query: ``[B, N*Q]`` image ids, class by class.
        query_labels: ``[B, N*Q]`` column of ``class_ids`` that each query belongs to.
    """

    class_ids: Ids
    support: Ids
    query: Ids
    query_labels: Ids

    def rows(self, start: int, count: int) -> "LabeledIndices":
        """Return ``count`` of the episodes."""
        part = slice(start, start + count)
        return LabeledIndices(
            self.class_ids[part], self.support[part], self.query[part], self.query_labels[part]
        )

    @property
    def support_labels(self) -> Ids:
        """``[B, N*S]`` column of ``class_ids`` that each support image belongs to."""
        batch, way = self.class_ids.shape
        labels = np.repeat(np.arange(way), self.support.shape[1] // way)
        return np.broadcast_to(labels, (batch, len(labels)))
