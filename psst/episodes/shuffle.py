"""Passes over a list without end, each in a random order of its own."""

import numpy as np

from psst.episodes.counters import Ids, random_words


class EndlessShuffle:
    """Every id once, in random order, then every id once in another order, and so on.

    The id at position p depends on the key and p alone, whoever asks and in which order.

    Args:
        ids: ``[n]``, at least one.
        key: of the random stream, see ``psst.randomness.stream_key``.
        n: ids of a batch.
    """

    def __init__(self, ids: Ids, key: int, n: int = 1) -> None:
        self.ids, self.key, self.n = ids, key, n
        self._last: tuple[int, Ids] | None = None  # the pass asked for last, and its order

    def batch(self, item: int) -> Ids:
        """Return the ``n`` ids of batch ``item``."""
        return self.take(item * self.n, self.n)

    def take(self, start: int, count: int) -> Ids:
        """Return the ids at positions ``start`` to ``start + count - 1``."""
        n, end = len(self.ids), start + count
        parts = [
            self._order(number)[max(start - number * n, 0) : end - number * n]
            for number in range(start // n, -(-end // n))
        ]
        return np.concatenate(parts) if parts else self.ids[:0]

    def _order(self, number: int) -> Ids:
        if self._last is None or self._last[0] != number:
            words = random_words(self.key, number, 1, len(self.ids))[0]
            self._last = number, self.ids[np.argsort(words, kind="stable")]
        return self._last[1]
