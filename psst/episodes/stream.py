"""Data sets over an image store, and the order in which a loader reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from psst.episodes.episode import Episode
from psst.episodes.sampler import EpisodeSampler, Ids
from psst.images.store import ImageStore


class EpisodeStream(Dataset[Episode]):
    """Item i holds the episodes ``i * B`` to ``(i + 1) * B - 1`` of a sampler, whoever reads it and when.

    Args:
        store: holds the images.
        sampler: says which.
        episodes_per_batch: B.
        length: nominal, for tools that ask; every i >= 0 is valid.
    """

    def __init__(
        self, store: ImageStore, sampler: EpisodeSampler, episodes_per_batch: int = 1, length: int = 2**31
    ) -> None:
        if episodes_per_batch < 1:
            raise ValueError(f"`episodes_per_batch={episodes_per_batch}` must be at least 1.")
        self.store, self.sampler = store, sampler
        self.episodes_per_batch, self.length = episodes_per_batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Episode:
        size, way = self.episodes_per_batch, self.sampler.n_way
        drawn = self.sampler.draw(item * size, size)
        labels = torch.arange(way).expand(size, way)
        names = self.store.class_names
        return Episode(
            support=read_images(self.store, drawn.support.reshape(size, -1)),
            support_labels=labels.repeat_interleave(self.sampler.n_shot, dim=1),
            query=read_images(self.store, drawn.query.reshape(size, -1)),
            query_labels=labels.repeat_interleave(self.sampler.n_query, dim=1),
            class_ids=torch.from_numpy(drawn.class_ids),
            index=torch.arange(item * size, (item + 1) * size),
            class_names=[[names[class_id] for class_id in row] for row in drawn.class_ids.tolist()],
        )


class EpisodeOrder(DistributedSampler[Episode]):
    """Indices ``first, first + 1, ...`` of an endless stream, one pass of ``length`` at a time.

    It asks where to begin at the start of every pass, so it can be told what was trained on rather than what
    was fetched. With several ranks, rank r takes every ``n_ranks``-th index. It is a ``DistributedSampler``
    because Lightning leaves those as they are and would shuffle any other.

    Args:
        first: returns the index with which a pass begins; called once a pass, in the main process.
        length: indices of one pass on each rank.
        rank: of this process.
        n_ranks: processes that share the stream.
    """

    def __init__(self, first: Callable[[], int], length: int, rank: int = 0, n_ranks: int = 1) -> None:
        super().__init__(range(length), num_replicas=n_ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.first, self.length = first, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        begin = self.first() + self.rank
        yield from range(begin, begin + self.length * self.num_replicas, self.num_replicas)


class EpisodeLoader(DataLoader[Episode]):
    """A loader that tells Lightning it can resume; the position itself is kept by the datamodule."""

    def state_dict(self) -> dict[str, int]:
        """Return nothing: see ``EpisodicDataModule.state_dict``."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Do nothing: see ``EpisodicDataModule.load_state_dict``."""


class ImageSplit(Dataset[dict[str, Tensor]]):
    """Every image of a split once, ordered by class.

    Items are ``{"image": [C, H, W] uint8, "label": class id, "image_id": position in the store}``.
    """

    def __init__(self, store: ImageStore, split: str) -> None:
        self.store, self.split = store, split
        ids = [store.image_ids(int(class_id)) for class_id in store.splits[split]]
        self.image_ids: Ids = np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        ids = self.image_ids[[item]]
        return {
            "image": read_images(self.store, ids)[0],
            "label": torch.tensor(self.store.labels[ids][0]),
            "image_id": torch.tensor(ids[0]),
        }


def read_images(store: ImageStore, ids: Ids) -> Tensor:
    """Return the images ``ids``, ``[...]``, as ``[..., C, H, W]`` uint8."""
    pixels = torch.from_numpy(np.asarray(store.images[ids]))  # indexing by an array copies out of the map
    return pixels.movedim(-1, -3).contiguous()
