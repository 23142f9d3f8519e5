"""Which images make up episode i, as a function of i alone."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from psst.episodes.counters import Ids, Words, distinct, random_words
from psst.episodes.indices import EpisodeIndices, LabeledIndices

__all__ = ["EpisodeIndices", "EpisodeSampler", "Ids"]

_DRAWN_TOGETHER = 256  # episodes


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
        self._block: tuple[tuple[int, int], LabeledIndices] | None = None  # what `batch` drew last
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
        return self.draw_smaller(start, count, self.n_way, self.n_shot)

    def draw_smaller(self, start: int, count: int, n_way: int, n_shot: int) -> EpisodeIndices:
        """Return episodes as ``draw`` does, of at most its way and shot, from the same counters.

        Raises:
            ValueError: ``start`` or ``count`` is negative.
        """
        per_class = n_shot + self.n_query
        classes, words = self.draw_classes(start, count, n_way, n_way * per_class)
        images = self.draw_images(classes, words.reshape(count, n_way, per_class))
        return EpisodeIndices(self.class_ids[classes], images[..., :n_shot], images[..., n_shot:])

    def draw_classes(self, start: int, count: int, n_way: int, n_images: int) -> tuple[Ids, Words]:
        """Return places of classes in ``class_ids``, ``[count, N]``, and words for ``n_images`` images each.

        Raises:
            ValueError: ``start`` or ``count`` is negative.
        """
        if start < 0 or count < 0:
            raise ValueError(f"`start={start}` and `count={count}` must be at least 0.")
        largest = self.n_way * (1 + self.n_shot + self.n_query)
        words = random_words(self.key, start, count, n_way + n_images, largest)
        return distinct(words[:, :n_way], np.int64(len(self.class_ids))), words[:, n_way:]

    def draw_images(self, classes: Ids, words: Words) -> Ids:
        """Return image ids ``[B, N, k]`` of ``classes`` ``[B, N]``: distinct, one for each of the words."""
        places = distinct(words, self._sizes[classes]) + self._starts[classes][..., None]
        found: Ids = np.take(self._image_ids, places, mode="clip")
        return found

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return episodes ``item * size`` to ``(item + 1) * size - 1``, for training.

        They are drawn with their neighbors, which costs about as much as drawing them alone, and kept.
        """
        together = max(1, _DRAWN_TOGETHER // max(size, 1))
        block, row = divmod(item, together)
        if self._block is None or self._block[0] != (block, size):
            self._block = (block, size), self.draw(block * together * size, together * size).labeled()
        return self._block[1].rows(row * size, size)

    def class_sizes(self, classes: Ids) -> Ids:
        """Return how many images each of the classes at these places of ``class_ids`` has."""
        sizes: Ids = self._sizes[classes]
        return sizes

    def _check(self) -> None:
        n_classes = len(self.class_ids)
        if len(self._sizes) != n_classes or len(np.unique(self.class_ids)) != n_classes:
            raise ValueError(
                f"`class_ids` must hold distinct classes, one for each of the {len(self._sizes)} entries of "
                f"`image_ids_by_class`; found {n_classes}."
            )
        for name, value in (("n_way", self.n_way), ("n_shot", self.n_shot), ("n_query", self.n_query)):
            if value < 1:
                raise ValueError(f"`{name}={value}` must be at least 1.")
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
