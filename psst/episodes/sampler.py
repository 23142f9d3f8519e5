"""Which images make up episode i, as a function of i alone; none is read yet."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from psst.episodes.apart import Apart
from psst.episodes.counters import Ids, distinct, random_words
from psst.images.store import ImageStore

_DRAWN_TOGETHER = 256  # episodes


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
    """Episodes of one shape, whose queries may be spread unevenly over the classes."""

    class_ids: Ids  # [B, N], classes of the data set
    support: Ids  # [B, N*S], image ids, class by class
    query: Ids  # [B, N*Q], image ids, class by class
    query_labels: Ids  # [B, N*Q], column of the class of each query

    def rows(self, start: int, count: int) -> "LabeledIndices":
        """Return ``count`` of the episodes."""
        part = slice(start, start + count)
        return LabeledIndices(*(array[part] for array in vars(self).values()))

    @property
    def support_labels(self) -> Ids:
        """``[B, N*S]``, column of the class of each support image."""
        batch, way = self.class_ids.shape
        labels = np.repeat(np.arange(way), self.support.shape[1] // way)
        return np.broadcast_to(labels, (batch, len(labels)))


class EpisodeSampler:
    """Draws distinct classes and, of each, distinct images, uniformly.

    Where images have groups, no image of the support shares one with a query, see `psst.episodes.apart`.

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
        image_groups: group of every image of the store, -1 without; None where there are no groups.

    Attributes:
        image_ids: every image that can be drawn, class by class.
        apart: keeps the groups apart; None where each image is alone.

    Raises:
        ValueError: too few classes, or a class with too few images, or too few groups.

    Example:
        >>> sampler = EpisodeSampler([np.arange(9), np.arange(9, 18)], [0, 1], 2, n_shot=1, n_query=3, key=0)
        >>> sampler.draw(7, 2).query.shape  # episodes 7 and 8
        (2, 2, 3)
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
        image_groups: Ids | None = None,
    ) -> None:
        self.class_ids: Ids = np.asarray(class_ids, dtype=np.int64)
        self.n_way, self.n_shot, self.n_query = n_way, n_shot, n_query
        self.key, self.seed = key, seed
        by_class: list[Ids] = [np.asarray(ids, dtype=np.int64) for ids in image_ids_by_class]
        self._sizes: Ids = np.array([len(ids) for ids in by_class], dtype=np.int64)
        self._check()
        self._block: tuple[tuple[int, int], LabeledIndices] | None = None  # what `batch` drew last
        self._starts: Ids = np.cumsum(self._sizes) - self._sizes
        self.by_class, self.image_ids = by_class, np.concatenate(by_class)
        self.apart: Apart | None = None
        if image_groups is not None:
            groups = set().union(*(Apart.members(image_groups, ids) for ids in by_class))
            if len(groups) < len(self.image_ids):  # two images are of one group
                self.apart = Apart(by_class, image_groups, n_shot, n_query, key)

    @classmethod
    def of(
        cls, store: ImageStore, classes: Ids, way: int, shot: int, query: int, key: int, seed: int
    ) -> "EpisodeSampler":
        """Return the sampler of episodes of some classes of a store; it keeps groups of images apart."""
        ids = [store.image_ids(int(class_id)) for class_id in classes]
        groups = store.image_groups if store.n_image_groups else None
        return cls(ids, classes, way, shot, query, key, seed, groups)

    @property
    def stream(self) -> str:
        """Fingerprint of the whole stream: equal fingerprints mean equal episodes at every index."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.n_way, self.n_shot, self.n_query, self.key)).encode())
        groups = () if self.apart is None else self.apart.groups
        for array in (self.class_ids, self._sizes, self.image_ids, *groups):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def draw(self, start: int, count: int) -> EpisodeIndices:
        """Return episodes ``start`` to ``start + count - 1``; ValueError if one of the two is negative."""
        return self.draw_smaller(start, count, self.n_way, self.n_shot)

    def draw_smaller(self, start: int, count: int, n_way: int, n_shot: int) -> EpisodeIndices:
        """Return episodes as ``draw`` does, of at most its way and shot, from the same counters."""
        per_class = n_shot + self.n_query
        classes, words = self.draw_classes(start, count, n_way, n_way * per_class)
        if self.apart is None:
            places = distinct(words.reshape(count, n_way, per_class), self._sizes[classes])
            images = self.image_ids[places + self._starts[classes][..., None]]
            support, query = images[..., :n_shot], images[..., n_shot:]
        else:
            support = np.empty((count, n_way, n_shot), dtype=np.int64)
            query = np.empty((count, n_way, self.n_query), dtype=np.int64)
            for row, places in enumerate(classes):
                support[row], rest = self.apart.draw(start + row, places.tolist(), n_shot)
                query[row] = [images[: self.n_query] for images in rest]
        return EpisodeIndices(self.class_ids[classes], support, query)

    def draw_classes(
        self, start: int, count: int, n_way: int, n_images: int
    ) -> tuple[Ids, npt.NDArray[np.uint64]]:
        """Return places of classes in ``class_ids``, ``[count, N]``, and words for ``n_images`` images."""
        if start < 0 or count < 0:
            raise ValueError(f"`start={start}` and `count={count}` must be at least 0.")
        largest = self.n_way * (1 + self.n_shot + self.n_query)
        words = random_words(self.key, start, count, n_way + n_images, largest)
        return distinct(words[:, :n_way], np.int64(len(self.class_ids))), words[:, n_way:]

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return episodes ``item * size`` to ``(item + 1) * size - 1``, for training.

        They are drawn with their neighbors, which costs about as much as drawing them alone, and kept.
        """
        together = max(1, _DRAWN_TOGETHER // max(size, 1))
        block, row = divmod(item, together)
        if self._block is None or self._block[0] != (block, size):
            self._block = (block, size), self.draw(block * together * size, together * size).labeled()
        return self._block[1].rows(row * size, size)

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
