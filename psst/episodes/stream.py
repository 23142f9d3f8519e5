"""Endless streams of training batches over an image store: item i is the same, whoever reads it and when."""

from typing import Protocol

import torch
from torch.utils.data import Dataset

from psst.episodes.counters import Ids
from psst.episodes.episode import ClassBatch, Episode
from psst.episodes.indices import LabeledIndices
from psst.episodes.reading import Reader, read_images
from psst.episodes.shuffle import EndlessShuffle
from psst.images.store import ImageStore

_ENDLESS = 2**31


class BatchSampler(Protocol):
    """Says which images make up a batch of episodes: an `EpisodeSampler` or a `VariedSampler`."""

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return the ``size`` episodes of batch ``item``."""


class EpisodeStream(Dataset[Episode]):
    """Item i holds the episodes ``i * B`` to ``(i + 1) * B - 1`` of a sampler.

    Args:
        store: holds the images.
        sampler: says which.
        episodes_per_batch: B.
        length: nominal, for tools that ask; every i >= 0 is valid.
        unlabeled: gives the unlabeled images; None if there are none.
        n_unlabeled: unlabeled images an episode, U.
        read: turns image ids into what the batch holds.
    """

    def __init__(
        self,
        store: ImageStore,
        sampler: BatchSampler,
        episodes_per_batch: int = 1,
        length: int = _ENDLESS,
        unlabeled: EndlessShuffle | None = None,
        n_unlabeled: int = 0,
        read: Reader = read_images,
    ) -> None:
        if episodes_per_batch < 1:
            raise ValueError(f"`episodes_per_batch={episodes_per_batch}` must be at least 1.")
        self.store, self.sampler, self.read = store, sampler, read
        self.episodes_per_batch, self.length = episodes_per_batch, length
        self.unlabeled, self.n_unlabeled = unlabeled, n_unlabeled

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Episode:
        size = self.episodes_per_batch
        drawn = self.sampler.batch(item, size)
        names = self.store.class_names
        unlabeled = None
        if self.unlabeled is not None and self.n_unlabeled:
            per_batch = size * self.n_unlabeled
            ids = self.unlabeled.take(item * per_batch, per_batch)
            unlabeled = self.read(self.store, ids.reshape(size, -1))
        return Episode(
            support=self.read(self.store, drawn.support),
            support_labels=torch.tensor(drawn.support_labels),
            query=self.read(self.store, drawn.query),
            query_labels=torch.tensor(drawn.query_labels),
            class_ids=torch.tensor(drawn.class_ids),
            index=torch.arange(item * size, (item + 1) * size),
            class_names=[[names[class_id] for class_id in row] for row in drawn.class_ids.tolist()],
            unlabeled=unlabeled,
        )


class ClassStream(Dataset[ClassBatch]):
    """Item i holds the images at positions ``i * n`` to ``(i + 1) * n - 1`` of shuffled passes over all.

    No image comes twice in a pass, and none is left out: a batch may begin in one pass and end in the next.

    Args:
        store: holds the images.
        class_ids: ``[M]`` classes to learn; the place is the label.
        batch_size: n.
        key: of the random stream, see ``psst.randomness.stream_key``.
        length: nominal, for tools that ask; every i >= 0 is valid.
        read: turns image ids into what the batch holds.
    """

    def __init__(
        self,
        store: ImageStore,
        class_ids: Ids,
        batch_size: int,
        key: int,
        length: int = _ENDLESS,
        read: Reader = read_images,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size={batch_size}` must be at least 1.")
        self.store, self.class_ids, self.batch_size, self.read = store, class_ids, batch_size, read
        self.length = length
        places = torch.full((len(store.class_names),), -1)
        places[torch.tensor(class_ids)] = torch.arange(len(class_ids))
        self._label_of_class = places
        self.order = EndlessShuffle(
            torch.cat([torch.tensor(store.image_ids(int(c))) for c in class_ids]).numpy(), key
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> ClassBatch:
        ids = self.order.take(item * self.batch_size, self.batch_size)
        return ClassBatch(
            images=self.read(self.store, ids),
            labels=self._label_of_class[torch.tensor(self.store.labels[ids])],
            class_ids=torch.tensor(self.class_ids),
            index=torch.tensor([item]),
        )
