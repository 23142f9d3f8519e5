"""Which images make up episode i, as a function of i alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
_WORDS_PER_COUNT = 4  # 64-bit words that Philox makes of one counter value


@dataclass(frozen=True)
class EpisodeIndices:
    """Drawn episodes before any image is read.

    Attributes:
        class_ids: ``[B, N]`` classes of the data set; the column is the label in the episode.
        support: ``[B, N, S]`` image ids.
        query: ``[B, N, Q]`` image ids.
    """

    class_ids: Ids
    support: Ids
    query: Ids


class EpisodeSampler:
    """Draws distinct classes and, of each, distinct images, uniformly.

    Counter-based: episode i is made of its own block of counters of Philox 4x64, so it depends on the key,
    the classes and i, and on nothing that was drawn before: ``draw(i, 1)`` is row i of ``draw(0, n)``.

    Args:
        image_ids_by_class: one array of image ids for each entry of ``class_ids``; sizes may differ.
        class_ids: ``[M]`` distinct classes to draw from.
        n_way: classes an episode, N <= M.
        n_shot: support images a class, S.
        n_query: query images a class, Q; every class has at least S + Q images.
        key: of the random stream, see ``psst.randomness.stream_key``.
        seed: the user's seed that went into ``key``; kept for reports only.

    Raises:
        ValueError: too few classes, or a class with too few images.

    References:
        Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox).
    """

    def __init__(
        self,
        image_ids_by_class: Sequence[npt.NDArray[np.integer]],
        class_ids: Sequence[int] | npt.NDArray[np.integer],
        n_way: int,
        n_shot: int,
        n_query: int,
        key: int,
        seed: int = 0,
    ) -> None:
        self.class_ids: Ids = np.asarray(class_ids, dtype=np.int64)
        self.n_way, self.n_shot, self.n_query = n_way, n_shot, n_query
        self.key, self.seed = key, seed
        self._sizes: Ids = np.array([len(ids) for ids in image_ids_by_class], dtype=np.int64)
        self._check()
        self._starts: Ids = np.cumsum(self._sizes) - self._sizes
        self._image_ids: Ids = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in image_ids_by_class])

    @property
    def image_ids(self) -> Ids:
        """Every image that can be drawn, class by class."""
        return self._image_ids

    @property
    def stream(self) -> str:
        """Fingerprint of the whole stream: equal fingerprints mean equal episodes at every index."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.n_way, self.n_shot, self.n_query, self.key)).encode())
        for array in (self.class_ids, self._sizes, self._image_ids):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def draw(self, start: int, count: int) -> EpisodeIndices:
        """Return episodes ``start`` to ``start + count - 1``.

        Raises:
            ValueError: ``start`` or ``count`` is negative.
        """
        if start < 0 or count < 0:
            raise ValueError(f"`start={start}` and `count={count}` must be at least 0.")
        per_class = self.n_shot + self.n_query
        words = self._words(start, count, self.n_way * (1 + per_class))
        classes = _distinct(words[:, : self.n_way], np.int64(len(self.class_ids)))
        image_words = words[:, self.n_way :].reshape(count, self.n_way, per_class)
        places = _distinct(image_words, self._sizes[classes]) + self._starts[classes][..., None]
        images = self._image_ids[places]
        return EpisodeIndices(self.class_ids[classes], images[..., : self.n_shot], images[..., self.n_shot :])

    def _words(self, start: int, count: int, needed: int) -> npt.NDArray[np.uint64]:
        """Return ``[count, needed]`` random words; every row owns a whole number of counter values."""
        block = -(-needed // _WORDS_PER_COUNT)
        generator = np.random.Philox(key=self.key, counter=start * block)
        words: npt.NDArray[np.uint64] = generator.random_raw(count * block * _WORDS_PER_COUNT)
        return words.reshape(count, block * _WORDS_PER_COUNT)[:, :needed]

    def _check(self) -> None:
        n_classes = len(self.class_ids)
        if len(self._sizes) != n_classes or len(np.unique(self.class_ids)) != n_classes:
            raise ValueError(
                f"`class_ids` must hold distinct classes, one for each of the {len(self._sizes)} entries of "
                f"`image_ids_by_class`; found {n_classes}."
            )
        for name, value, least in (
            ("n_way", self.n_way, 1),
            ("n_shot", self.n_shot, 1),
            ("n_query", self.n_query, 1),
        ):
            if value < least:
                raise ValueError(f"`{name}={value}` must be at least {least}.")
        if self.n_way > n_classes:
            raise ValueError(
                f"`n_way={self.n_way}` needs {self.n_way} classes, found {n_classes}; lower `n_way`."
            )
        needed, smallest = self.n_shot + self.n_query, int(np.argmin(self._sizes))
        if self._sizes[smallest] < needed:
            raise ValueError(
                f"`n_shot={self.n_shot}` and `n_query={self.n_query}` need {needed} images a class, class "
                f"{self.class_ids[smallest]} has {self._sizes[smallest]}; lower `n_shot` or `n_query`."
            )


def _distinct(words: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64] | np.int64) -> Ids:
    """Turn words ``[..., k]`` into k distinct integers below ``sizes``, ``[...]``, in random order.

    The j-th draw is a rank among the integers not yet taken. With the taken ones sorted as ``t_0 < t_1 <
    ...``, ``t_i - i`` integers below ``t_i`` are free, so the free integer of rank r is r plus the number of
    i with ``t_i - i <= r``.
    """
    k = words.shape[-1]
    ranks = (words >> np.uint64(32)).astype(np.int64)
    drawn = np.empty(words.shape, dtype=np.int64)
    for j in range(k):
        rank = (ranks[..., j] * (sizes - j)) >> 32  # 32 random bits: bias below sizes / 2**32
        free_below = np.sort(drawn[..., :j], axis=-1) - np.arange(j)
        drawn[..., j] = rank + (free_below <= rank[..., None]).sum(axis=-1)
    return drawn
