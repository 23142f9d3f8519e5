"""Which images make up episode i, as a function of i alone; none is read yet."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from psst.episodes.apart import draw_apart, sides
from psst.episodes.batch import EpisodeShape
from psst.episodes.counters import Ids, below, distinct, random_words
from psst.episodes.settings import Episodes, Evaluation
from psst.images.store import ImageStore
from psst.randomness import stream_key

_DRAWN_TOGETHER = 256  # episodes


@dataclass(frozen=True)
class EpisodeIndices:
    """Episodes of one shape.

    Attributes:
        class_ids: ``[B, N]`` classes of the data set; the column is the label in the episode.
        support: ``[B, N, S]`` image ids.
        query: ``[B, N, Q]`` image ids; ``[B, N * Q]``, class by class, where classes have different numbers.
        query_labels: ``[B, N * Q]``, column of the class of each query there; None for Q of each class.
    """

    class_ids: Ids
    support: Ids
    query: Ids
    query_labels: Ids | None = None

    @property
    def shape(self) -> EpisodeShape:
        """How many of everything."""
        episodes, way, shot = self.support.shape
        return EpisodeShape(episodes, way, shot, self.query[0].size // way)

    @property
    def ids(self) -> Ids:
        """``[B, N * (S + Q)]``: the supports of each episode, then its queries, class by class."""
        return _joined(self.support, self.query)

    @property
    def labels(self) -> Ids:
        """Column of the class of each of `ids`."""
        columns = np.arange(self.support.shape[1])[:, None]
        even = np.broadcast_to(columns, self.query.shape) if self.query_labels is None else self.query_labels
        return _joined(np.broadcast_to(columns, self.support.shape), even)

    def rows(self, start: int, count: int) -> "EpisodeIndices":
        """Return ``count`` of the episodes."""
        part = slice(start, start + count)
        return replace(self, **{name: ids[part] for name, ids in vars(self).items() if ids is not None})


class EpisodeSampler:
    """Draws distinct classes and, of each, distinct images, uniformly.

    Where images have groups, no image of the support shares one with a query, see `psst.episodes.apart`.

    Counter-based: episode i is made of its own block of counters of Philox 4x64, so it depends on the key,
    the classes and i, and on nothing that was drawn before: ``draw(i, 1)`` is row i of ``draw(0, n)``.

    Args:
        images: image ids of each class to draw from; their numbers may differ.
        asked: way, shot and query, N, S and Q; `Episodes` with ranges, or spread queries, for `batch`.
        key: of the random stream, see ``psst.randomness.stream_key``.
        seed: the user's seed that went into ``key``; kept for reports only.
        image_groups: group of every image of the store, -1 without; None where there are no groups.
        owner: of the classes, for errors, as ``class_names`` of the data set.

    Attributes:
        class_ids: ``[M]`` classes to draw from.
        image_ids: every image that can be drawn, class by class.
        n_way: N, the largest if it varies; ``n_shot`` and ``n_query`` likewise.

    Raises:
        ValueError: fewer than N classes, a class with fewer than S + Q images, or with too few groups.

    Example:
        >>> sampler = EpisodeSampler({0: np.arange(9), 1: np.arange(9, 18)}, Evaluation(2, 1, 3), key=0)
        >>> sampler.draw(7, 2).query.shape  # episodes 7 and 8
        (2, 2, 3)
    """

    def __init__(
        self,
        images: Mapping[int, npt.NDArray[np.integer]],
        asked: Episodes | Evaluation,
        key: int,
        seed: int = 0,
        image_groups: Ids | None = None,
        owner: str = "the sampler",
        class_names: Sequence[str] = (),
    ) -> None:
        self.class_ids: Ids = np.array(list(images), dtype=np.int64)
        self.key, self.seed, self.n_query = key, seed, asked.query
        ranges = (
            each if isinstance(each, (list, tuple)) else (each, each) for each in (asked.way, asked.shot)
        )
        self._fewest, (self.n_way, self.n_shot) = zip(*ranges, strict=True)
        self.balance = asked.balance if isinstance(asked, Episodes) else None
        self._by_class: list[Ids] = [np.asarray(ids, dtype=np.int64) for ids in images.values()]
        self._sizes: Ids = np.array([len(ids) for ids in self._by_class], dtype=np.int64)
        self._starts: Ids = np.cumsum(self._sizes) - self._sizes
        self.image_ids = np.concatenate([*self._by_class, self.class_ids[:0]])
        self._block: tuple[tuple[int, int], EpisodeIndices] | None = None  # what `batch` drew last
        groups = np.full(self.image_ids.max(initial=0) + 1, -1) if image_groups is None else image_groups
        shared = groups[self.image_ids][groups[self.image_ids] >= 0]
        self._groups: list[Ids] = []  # of the images of each class, if they are to be kept apart
        self._sides: set[int] | None = set()
        if self.balance is not None or len(np.unique(shared)) < len(shared):
            self._groups = [np.where(groups[ids] < 0, -1 - ids, groups[ids]) for ids in self._by_class]
            self._sides = sides(self._groups, self.n_shot, self.n_query)
        self._check(asked, owner, class_names)

    @classmethod
    def of_split(
        cls,
        store: ImageStore,
        name: str,
        split: str,
        asked: Episodes | Evaluation,
        key: Callable[[str], int],
        seed: int,
    ) -> "dict[str, EpisodeSampler]":
        """Return the sampler of each group of classes in a split; one called "all" if there are none.

        A group with fewer classes than asked for gives all it has, at least two. ``name`` is that of the data
        set, ``key`` gives the key of a group; the rest, and errors, as of the class.
        """
        samplers = {}
        for group, classes in store.class_groups(split).items():
            owner, way, there = f"split '{split}' of {name}", asked.way, max(2, len(classes))
            if group != "all":
                owner = f"group '{group}' of {owner}"
                way = min(way, there) if isinstance(way, int) else (min(way[0], there), min(way[1], there))
            images = {class_id: store.image_ids(class_id) for class_id in classes.tolist()}
            settings = (replace(asked, way=cast(int, way)), key(group), seed)
            samplers[group] = cls(images, *settings, store.image_groups, owner, store.class_names)
        return samplers

    @cached_property
    def stream(self) -> str:
        """Fingerprint of what `draw` gives: equal fingerprints mean equal episodes at every index."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.n_way, self.n_shot, self.n_query, self.key)).encode())
        for array in (self.class_ids, self._sizes, self.image_ids, *self._groups):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def draw(self, start: int, count: int) -> EpisodeIndices:
        """Return episodes ``start`` to ``start + count - 1``; ValueError if one of the two is negative."""
        return self._draw(start, count, self.n_way, self.n_shot)

    def batch(self, item: int, size: int) -> EpisodeIndices:
        """Return episodes ``item * size`` to ``(item + 1) * size - 1``, for training, all of one shape."""
        low, high = np.array(self._fewest), np.array((self.n_way, self.n_shot))
        if (low < high).any():
            words = random_words(stream_key(self.key, "shape"), item, 1, 2)[0]
            return self._draw(item * size, size, *(low + below(words, high - low + 1)).tolist())
        # drawn with their neighbors, which costs about as much as drawing them alone, and kept
        together = max(1, _DRAWN_TOGETHER // max(size, 1))
        block, row = divmod(item, together)
        if self._block is None or self._block[0] != (block, size):
            self._block = (block, size), self.draw(block * together * size, together * size)
        return self._block[1].rows(row * size, size)

    def _draw(self, start: int, count: int, way: int, shot: int) -> EpisodeIndices:
        """Return episodes of at most the largest way and shot, from the same counters."""
        if start < 0 or count < 0:
            raise ValueError(f"`start={start}` and `count={count}` must be at least 0.")
        per_class, owned = shot + self.n_query, self.n_way * (1 + self.n_shot + self.n_query)
        words = random_words(self.key, start, count, way * (1 + per_class), owned)
        classes = distinct(words[:, :way], np.int64(len(self.class_ids)))
        if not self._groups:
            places = distinct(words[:, way:].reshape(count, way, per_class), self._sizes[classes])
            images = self.image_ids[places + self._starts[classes][..., None]]
            return EpisodeIndices(self.class_ids[classes], images[..., :shot], images[..., shot:])
        support = np.empty((count, way, shot), dtype=np.int64)
        query, labels = np.empty((2, count, way * self.n_query), dtype=np.int64)
        for row, places in enumerate(classes.tolist()):
            images, groups = ([of[place] for place in places] for of in (self._by_class, self._groups))
            rng = _rng(self.key, "apart", start + row)
            support[row], rest = draw_apart(rng, images, groups, shot, self.n_query, self._sides or set())
            counts = np.full(way, self.n_query)
            if self.balance is not None:
                rng, room = _rng(stream_key(self.key, "balance"), start + row), np.array([*map(len, rest)])
                counts = self.query_counts(rng, self.balance, way * self.n_query, room)
            query[row] = np.concatenate([images[:n] for images, n in zip(rest, counts, strict=True)])
            labels[row] = np.repeat(np.arange(way), counts)
        if self.balance is None:
            return EpisodeIndices(self.class_ids[classes], support, query.reshape(count, way, self.n_query))
        return EpisodeIndices(self.class_ids[classes], support, query, labels)

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
            order = np.argsort(np.where(free, added - shares, 1.0), kind="stable")  # what is full comes last
            added[order[: left - int(added.sum())]] += 1
            counts = np.minimum(counts + added, room)
        return counts

    def _check(self, asked: Episodes | Evaluation, owner: str, class_names: Sequence[str]) -> None:
        """Raise ValueError, in the words of a configuration, if the classes cannot serve what was asked."""
        way, shot, query = asked.typed("way"), asked.typed("shot"), asked.typed("query")
        if (found := len(self.class_ids)) < self.n_way:
            raise ValueError(
                f"{way} needs {self.n_way} classes, {owner} has {found}; add classes, or lower the way."
            )
        needed, short = self.n_shot + self.n_query, []
        for place, (class_id, size) in enumerate(zip(self.class_ids.tolist(), self._sizes, strict=True)):
            name = f"`{class_names[class_id]}`" if class_names else f"class {class_id}"
            if size < needed:
                short.append(f"{name} has {size}")
            elif self._sides is None and sides([self._groups[place]], self.n_shot, self.n_query) is None:
                short.append(f"{name} has {size} in {len(np.unique(self._groups[place]))} groups")
        if self._sides is None and not short:
            short = ["classes share groups, and no way was found to part them for all classes at once"]
        if short:
            more = f" (and {len(short) - 3} more)" if len(short) > 3 else ""
            apart = ", support and queries of different groups" if self._sides is None else ""
            raise ValueError(
                f"{shot} and {query} need {needed} images a class{apart}; in {owner} {', '.join(short[:3])}"
                f"{more}; lower one of the two, add images, or leave small classes out, as ImageFolder does "
                f"by `data.init_args.min_images={needed}`."
            )


def _joined(*parts: Ids) -> Ids:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=stream_key(*parts)))
