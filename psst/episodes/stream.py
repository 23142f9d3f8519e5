"""Endless streams of training batches over an image store: item i is the same, whoever reads it and when."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from psst.episodes.batch import Batch, EpisodeShape, Policies
from psst.episodes.counters import Ids, random_words
from psst.episodes.sampler import LabeledIndices
from psst.images.store import ImageStore

_ENDLESS = 2**31  # for tools that ask; every item is valid
_NO_CLASS = -1


class _BatchSampler(Protocol):
    def batch(self, item: int, size: int) -> LabeledIndices: ...


class EndlessShuffle:
    """Every id once, in random order, then every id once in another order, and so on; batches of ``n``.

    The id at position p depends on the key and p alone, whoever asks and in which order.
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


class BatchStream(Dataset[Batch]):
    """Item i holds episodes, images of classes and unlabeled images, each as far as asked for.

    The episodes of item i are ``i * B`` to ``(i + 1) * B - 1`` of the sampler. No image of classes comes
    twice in a pass, and none is left out: a batch may begin in one pass and end in the next.

    Args:
        store: holds the images.
        class_ids: ``[M]`` classes to learn; the place is the label.
        policies: make the views.
        sampler: of the episodes, such as an `EpisodeSampler`; None for batches without.
        n_episodes: B.
        classes: gives the images of classes; None for batches without.
        unlabeled: gives the unlabeled images; None for batches without.
        with_pixels: read the images; otherwise whoever has them on the device looks them up.
        make: makes a batch of what it has.
    """

    def __init__(
        self,
        store: ImageStore,
        class_ids: Ids,
        policies: Policies,
        sampler: _BatchSampler | None = None,
        n_episodes: int = 1,
        classes: EndlessShuffle | None = None,
        unlabeled: EndlessShuffle | None = None,
        with_pixels: bool = True,
        make: Callable[..., Batch] = Batch,
    ) -> None:
        self.store, self.sampler, self.n_episodes = store, sampler, n_episodes
        self.classes, self.unlabeled = classes, unlabeled
        self.policies, self.with_pixels, self.make = policies, with_pixels, make
        self._label_of = np.full(len(store.class_names) + 1, _NO_CLASS, dtype=np.int64)  # the last: no class
        self._label_of[class_ids] = np.arange(len(class_ids))

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, item: int) -> Batch:
        shape, targets = None, None
        ids, n_unlabeled = [], 0
        if self.sampler is not None:
            drawn = self.sampler.batch(item, self.n_episodes)
            shape, targets = _shape_of(drawn), _targets_of(drawn)
            ids.append(np.concatenate([drawn.support, drawn.query], axis=1).reshape(-1))
        if self.classes is not None:
            ids.append(self.classes.batch(item))
        if self.unlabeled is not None:
            ids.append(self.unlabeled.batch(item))
            n_unlabeled = self.unlabeled.n
        every = np.concatenate(ids)
        return self.make(
            ids=torch.from_numpy(every),
            labels=torch.from_numpy(self._label_of[self.store.labels[every]]),
            index=item,
            shape=shape,
            targets=targets,
            n_unlabeled=n_unlabeled,
            pixels=torch.from_numpy(self.store.read(every)) if self.with_pixels else None,
            policies=self.policies,
        )


class ImageSplit(Dataset[Batch]):
    """Every image of a split once, ordered by class, in at least ``n_parts`` batches of unlabeled rows.

    Their classes are none of the training classes, so their labels are -1; episodes are drawn from features.
    Arguments as of `BatchStream`.

    Raises:
        ValueError: there are fewer images than ``n_parts``, the processes that share them.
    """

    def __init__(
        self,
        store: ImageStore,
        split: str,
        policies: Policies,
        batch_size: int,
        n_parts: int = 1,
        with_pixels: bool = True,
        make: Callable[..., Batch] = Batch,
    ) -> None:
        self.store, self.split, self.policies = store, split, policies
        self.with_pixels, self.make = with_pixels, make
        self.image_ids = store.split_ids(split)
        if len(self.image_ids) < n_parts:
            raise ValueError(
                f"`trainer.devices` makes {n_parts} processes, split '{split}' has {len(self.image_ids)} "
                "images; use fewer."
            )
        n_batches = max(n_parts, -(-len(self.image_ids) // batch_size))
        self._parts = np.array_split(self.image_ids, n_batches) if len(self.image_ids) else []

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, item: int) -> Batch:
        ids = self._parts[item]
        return self.make(
            ids=torch.from_numpy(ids),
            labels=torch.full((len(ids),), _NO_CLASS),
            index=item,
            n_unlabeled=len(ids),
            pixels=torch.from_numpy(self.store.read(ids)) if self.with_pixels else None,
            policies=self.policies,
        )


def _shape_of(drawn: LabeledIndices) -> EpisodeShape:
    (batch, way), (n_support, n_query) = drawn.class_ids.shape, (drawn.support.shape[1], drawn.query.shape[1])
    return EpisodeShape(batch, way, n_support // way, n_query // way)


def _targets_of(drawn: LabeledIndices) -> Tensor:
    labels = np.concatenate([drawn.support_labels, drawn.query_labels], axis=1)
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))
