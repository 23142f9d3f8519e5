"""Training episodes whose way, shot and spread of queries differ from batch to batch."""

import numpy as np

from psst.episodes.apart import Apart
from psst.episodes.counters import Ids, below, random_words
from psst.episodes.sampler import EpisodeSampler, LabeledIndices
from psst.randomness import stream_key


class VariedSampler:
    """Batches of episodes, each batch of a way and a shot of its own; batch i depends on the key and i only.

    All episodes of a batch share the shape. With one way, one shot and even queries the episodes are those of
    ``widest``.

    Args:
        widest: draws episodes of the largest way and shot, and thereby proves that the data can serve them.
        n_way: smallest way; drawn uniformly up to ``widest.n_way``.
        n_shot: smallest shot; the same.
        query_balance: see `query_counts`; None for Q queries of each class.
    """

    def __init__(
        self, widest: EpisodeSampler, n_way: int, n_shot: int, query_balance: float | None = None
    ) -> None:
        self.widest, self.n_way, self.n_shot, self.query_balance = widest, n_way, n_shot, query_balance
        self._most = widest.n_way, widest.n_shot
        self._apart = widest.apart
        if query_balance is not None and self._apart is None:
            self._apart = Apart(widest.by_class, None, widest.n_shot, widest.n_query, widest.key)
        self._shape_key = stream_key(widest.key, "shape")
        self._balance_key = stream_key(widest.key, "balance")

    def shape(self, item: int) -> tuple[int, int]:
        """Way and shot of batch ``item``."""
        low = np.array([self.n_way, self.n_shot], dtype=np.int64)
        way, shot = low + below(random_words(self._shape_key, item, 1, 2)[0], np.array(self._most) - low + 1)
        return int(way), int(shot)

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return the ``size`` episodes of batch ``item``."""
        if self.query_balance is None and (self.n_way, self.n_shot) == self._most:
            return self.widest.batch(item, size)
        way, shot = self.shape(item)
        if self.query_balance is None:
            return self.widest.draw_smaller(item * size, size, way, shot).labeled()
        return self._uneven(item * size, size, way, shot, self.query_balance)

    def _uneven(self, start: int, size: int, way: int, shot: int, concentration: float) -> LabeledIndices:
        assert self._apart is not None
        total = way * self.widest.n_query
        classes, _ = self.widest.draw_classes(start, size, way, 0)
        support = np.empty((size, way * shot), dtype=np.int64)
        query, labels = np.empty((2, size, total), dtype=np.int64)
        for row, places in enumerate(classes):
            first, rest = self._apart.draw(start + row, places.tolist(), shot)
            rng = np.random.Generator(np.random.Philox(key=stream_key(self._balance_key, start + row)))
            counts = self.query_counts(rng, concentration, total, np.array([len(images) for images in rest]))
            support[row] = first.reshape(-1)
            query[row] = np.concatenate([i[:n] for i, n in zip(rest, counts, strict=True)])
            labels[row] = np.repeat(np.arange(way), counts)
        return LabeledIndices(self.widest.class_ids[classes], support, query, labels)

    @staticmethod
    def query_counts(rng: np.random.Generator, concentration: float, total: int, room: Ids) -> Ids:
        """Spread ``total`` queries over the classes of an episode by a symmetric Dirichlet distribution.

        Concentration 1 is uniform over all proportions, large values are balanced. The result, ``[N]``, sums
        to ``total``, each at most its ``room``: the proportions' shares, rounded by largest remainders; what
        does not fit into a class goes to the others in the same proportions.

        References:
            Veilleux et al., Realistic evaluation of transductive few-shot learning, NeurIPS 2021.
        """
        proportions = rng.dirichlet(np.full(len(room), concentration))
        counts = np.zeros(len(room), dtype=np.int64)
        while (left := total - int(counts.sum())) > 0:
            free = counts < room
            weights = np.where(free, proportions, 0.0)
            weights = weights / weights.sum() if weights.sum() > 0 else free / free.sum()
            shares = weights * left
            added = np.floor(shares).astype(np.int64)
            order = np.argsort(-(shares - added)[free], kind="stable")
            places = np.flatnonzero(free)[order[: left - int(added.sum())]]
            added[places] += 1
            counts = np.minimum(counts + added, room)
        return counts
