"""Training episodes whose way, shot and spread of queries differ from batch to batch."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from psst.episodes.counters import Ids, Words, below, random_words
from psst.episodes.indices import LabeledIndices
from psst.episodes.sampler import EpisodeSampler
from psst.randomness import stream_key


class VariedSampler:
    """Batches of episodes, each batch of a way and a shot of its own; batch i depends on the key and i only.

    All episodes of a batch share the shape. With one way, one shot and even queries the episodes are those of
    ``widest``.

    Args:
        widest: draws episodes of the largest way and shot, and thereby proves that the data can serve them.
        n_way: smallest way; drawn uniformly up to ``widest.n_way``.
        n_shot: smallest shot; drawn uniformly up to ``widest.n_shot``.
        query_balance: concentration of the Dirichlet distribution of the N * Q queries over the classes;
            None for Q of each.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self, widest: EpisodeSampler, n_way: int, n_shot: int, query_balance: float | None = None
    ) -> None:
        for name, value, most in (("n_way", n_way, widest.n_way), ("n_shot", n_shot, widest.n_shot)):
            if not 1 <= value <= most:
                raise ValueError(
                    f"`{name}=[{value}, {most}]` must be an ascending range of positive numbers."
                )
        if query_balance is not None and not 0 < query_balance < np.inf:
            raise ValueError(f"`query_balance={query_balance}` must be above 0.")
        self.widest, self.n_way, self.n_shot, self.query_balance = widest, n_way, n_shot, query_balance
        self._most = widest.n_way, widest.n_shot
        self._shape_key = stream_key(widest.key, "shape")
        self._balance_key = stream_key(widest.key, "balance")

    def shape(self, item: int) -> tuple[int, int]:
        """Return way and shot of batch ``item``."""
        low = np.array([self.n_way, self.n_shot], dtype=np.int64)
        way, shot = low + below(random_words(self._shape_key, item, 1, 2)[0], np.array(self._most) - low + 1)
        return int(way), int(shot)

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return the ``size`` episodes of batch ``item``.

        Raises:
            ValueError: ``item`` or ``size`` is negative.
        """
        if item < 0 or size < 0:
            raise ValueError(f"`item={item}` and `size={size}` must be at least 0.")
        if self.query_balance is None and (self.n_way, self.n_shot) == self._most:
            return self.widest.batch(item, size)
        way, shot = self.shape(item)
        if self.query_balance is None:
            return self.widest.draw_smaller(item * size, size, way, shot).labeled()
        return self._uneven(item * size, size, way, shot, self.query_balance)

    def _uneven(self, start: int, size: int, way: int, shot: int, concentration: float) -> LabeledIndices:
        total = way * self.widest.n_query
        classes, words = self.widest.draw_classes(start, size, way, way * shot + total)
        balance = random_words(self._balance_key, start, size, way, self.widest.n_way)
        apart = self.widest.apart
        if apart is None:
            counts = query_counts(balance, concentration, total, self.widest.class_sizes(classes) - shot)
            images, used = _ragged(words, shot + counts, partial(self.widest.draw_images, classes))
            support, used[..., :shot] = images[..., :shot], False
        else:
            first = apart.support(start, classes, words[:, : way * shot].reshape(size, way, shot))
            counts = query_counts(balance, concentration, total, apart.room(classes, first))
            places, used = _ragged(words[:, way * shot :], counts, partial(apart.query, classes, first))
            support, images = self.widest.images_at(first), self.widest.images_at(places)
        labels = np.broadcast_to(np.arange(way)[:, None], images.shape)
        query: Ids = images[used].reshape(size, total)
        return LabeledIndices(
            self.widest.class_ids[classes],
            support.reshape(size, -1),
            query,
            labels[used].reshape(size, total),
        )


def _ragged(words: Words, counts: Ids, draw: Callable[[Words], Ids]) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Draw as many numbers for each class as it has words, which lie class after class.

    Args:
        words: ``[B, W]``.
        counts: ``[B, N]`` words of each class, W in all.
        draw: turns ``[B, N, k]`` words into numbers.

    Returns:
        Numbers ``[B, N, k]``, k being the largest count, and which of them have a word of their own.
    """
    begins = np.cumsum(counts, axis=1) - counts
    columns = np.arange(counts.max(initial=1))
    places = np.minimum(begins[..., None] + columns, words.shape[1] - 1).reshape(len(words), -1)
    drawn = draw(np.take_along_axis(words, places, axis=1).reshape(*counts.shape, len(columns)))
    return drawn, columns < counts[..., None]


def query_counts(words: Words, concentration: float, total: int, room: Ids) -> Ids:
    """Spread ``total`` queries over the classes of each episode by a symmetric Dirichlet distribution.

    Args:
        words: ``[B, N]`` random words.
        concentration: of the distribution; 1 is uniform over all proportions, large values are balanced.
        total: queries an episode; at most the sum of ``room`` of each episode.
        room: ``[B, N]`` images that each class can give.

    Returns:
        ``[B, N]`` integers that sum to ``total``, each at most its ``room``: the proportions' shares, rounded
        by largest remainders, what does not fit into a class going to the others in the same proportions.

    References:
        Veilleux et al., Realistic evaluation of transductive few-shot learning, NeurIPS 2021.
    """
    return np.stack(
        [
            _rounded(row, total, limits)
            for row, limits in zip(_dirichlet(words, concentration), room, strict=True)
        ]
    )


def _dirichlet(words: Words, concentration: float) -> npt.NDArray[np.float64]:
    """Return proportions ``[B, N]``: gamma variates by inversion, so that each costs exactly one word."""
    from scipy.special import gammaincinv

    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    gammas = np.asarray(gammaincinv(concentration, uniform), dtype=np.float64)
    underflown = gammas.sum(axis=1) == 0  # a tiny concentration: one class gets everything
    gammas[underflown, uniform[underflown].argmax(axis=1)] = 1.0
    proportions: npt.NDArray[np.float64] = gammas / gammas.sum(axis=1, keepdims=True)
    return proportions


def _rounded(proportions: npt.NDArray[np.float64], total: int, room: Ids) -> Ids:
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
