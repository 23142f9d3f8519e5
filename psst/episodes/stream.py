"""Streams of batches over an image store, the same whoever reads them and when, and how loaders read them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from psst.episodes.batch import Batch, Policies
from psst.episodes.counters import Ids, below, random_words
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Episodes
from psst.images.store import ImageStore
from psst.randomness import stream_key

_NO_CLASS = -1


def shuffled(ids: Ids, key: int, start: int, count: int) -> Ids:
    """Return a part of an endless sequence: every id once, in random order, then every id in another order.

    The id at position p, of ``start`` to ``start + count - 1``, depends on the key and p alone.
    """
    passes, places = np.divmod(np.arange(start, start + count), len(ids))
    orders = ((_order(key, number, len(ids)), passes == number) for number in np.unique(passes).tolist())
    return np.concatenate([*(ids[order[places[inside]]] for order, inside in orders), ids[:0]])


@lru_cache(maxsize=8)
def _order(key: int, number: int, n: int) -> Ids:
    return np.argsort(random_words(key, number, 1, n)[0], kind="stable")


@dataclass(frozen=True)
class TrainingPlan:
    """What a training stream consists of; attributes as the arguments of `EpisodicDataModule`."""

    name: str  # of the data set, for errors
    batches: Literal["episodes", "classes", "mixed"]
    episodes: Episodes
    batch_size: int = 128
    n_unlabeled: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batches not in ("episodes", "classes", "mixed"):
            raise ValueError(
                f"`data.init_args.batches={self.batches}` must be `episodes`, `classes` or `mixed`."
            )
        if self.batches == "classes" and self.episodes.balance is not None:
            raise ValueError(
                f"{self.episodes.typed('balance')} is of episodes; leave it out, or set "
                "`data.init_args.batches` to `episodes` or `mixed`."
            )

    @property
    def per_batch(self) -> int:
        """Episodes, or images, of one batch."""
        return self.batch_size if self.batches == "classes" else self.episodes.per_batch

    def pass_length(self, store: ImageStore, n_ranks: int) -> int:
        """Return the batches of one pass on each of ``n_ranks``: an epoch as Lightning counts them.

        It need not divide anything: the next pass begins with the first batch that no rank has seen.
        """
        if self.batches == "classes":
            return -(-len(store.split_ids("train")) // (self.batch_size * n_ranks))
        return max(1, self.episodes.per_epoch // (self.episodes.per_batch * n_ranks))


@dataclass(frozen=True)
class Reader:
    """Makes batches of the ids of images."""

    store: ImageStore
    policies: Policies
    with_pixels: bool = True  # otherwise whoever has them on the device looks them up
    make: Callable[..., Batch] = Batch

    def __call__(self, ids: Ids, labels: Ids, **more: Any) -> Batch:
        """Return a batch of images ``[n]`` and their labels ``[n]``; the rest as of `Batch`."""
        pixels = torch.from_numpy(self.store.read(ids)) if self.with_pixels else None
        known = {"ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
        return self.make(**known, pixels=pixels, policies=self.policies, **more)


class BatchStream(Dataset[Batch]):
    """Item i holds episodes, images of classes and unlabeled images, each as far as the plan says.

    The episodes of item i are ``i * B`` to ``(i + 1) * B - 1`` of a sampler; where the train split has groups
    of classes each batch keeps to one, every group as often as the others. No image of classes comes twice in
    a pass, and none is left out: a batch may begin in one pass and end in the next. The label of a class is
    its place in the train split. ValueError if the store cannot serve the plan.
    """

    def __init__(self, reader: Reader, plan: TrainingPlan) -> None:
        self.reader, self.plan = reader, plan
        store, key = reader.store, stream_key(plan.seed, "train")
        self._label_of = np.full(len(store.class_names) + 1, _NO_CLASS)  # the last: no class
        self._label_of[store.splits["train"]] = np.arange(len(store.splits["train"]))
        self.samplers: list[EpisodeSampler] = []
        self._group_key = stream_key(key, "groups")
        if plan.batches != "classes":
            keys = {group: stream_key(key, "group", group) for group in store.class_groups("train")}
            split = (store, plan.name, "train", plan.episodes, {**keys, "all": key}.__getitem__, plan.seed)
            self.samplers = list(EpisodeSampler.of_split(*split).values())
        if plan.n_unlabeled and not len(store.unlabeled):
            raise ValueError(
                f"`data.init_args.n_unlabeled={plan.n_unlabeled}` needs unlabeled images, {plan.name} has "
                "none; set it to 0, or add images without a class to the data set."
            )
        n_images = 0 if plan.batches == "episodes" else plan.batch_size
        parts = (
            ("classes", store.split_ids("train"), n_images),
            ("unlabeled", store.unlabeled, plan.n_unlabeled),
        )
        self._shuffles = [(ids, stream_key(plan.seed, "train", kind), n) for kind, ids, n in parts]

    def __getitem__(self, item: int) -> Batch:
        ids = [shuffled(images, key, item * n, n) for images, key, n in self._shuffles]
        more: dict[str, Any] = {}
        if self.samplers:
            group = below(random_words(self._group_key, item, 1, 1)[0], np.int64(len(self.samplers)))
            drawn = self.samplers[int(group[0])].batch(item, self.plan.episodes.per_batch)
            ids.insert(0, drawn.ids.reshape(-1))
            more = {"shape": drawn.shape, "targets": torch.from_numpy(drawn.labels.reshape(-1))}
        every = np.concatenate(ids)
        labels = self._label_of[self.reader.store.labels[every]]
        return self.reader(every, labels, index=item, n_unlabeled=self.plan.n_unlabeled, **more)


class ImageSplit(Dataset[Batch]):
    """Every image of a split once, by class, in batches of unlabeled rows: as many for each of ``n_parts``.

    Their classes are none of the training classes, so their labels are -1; episodes are drawn from features.
    """

    def __init__(self, reader: Reader, split: str, batch_size: int, n_parts: int = 1) -> None:
        self.reader, self.image_ids = reader, reader.store.split_ids(split)
        n_images = len(self.image_ids)
        if n_images < n_parts:
            raise ValueError(
                f"`trainer.devices` makes {n_parts} processes, split '{split}' has {n_images} images; "
                "use fewer."
            )
        self._parts = np.array_split(self.image_ids, n_parts * -(-n_images // (n_parts * batch_size)))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, item: int) -> Batch:
        ids = self._parts[item]
        return self.reader(ids, np.full(len(ids), _NO_CLASS), index=item, n_unlabeled=len(ids))


class EpisodeOrder(DistributedSampler[Any]):
    """Indices ``first, first + 1, ...`` of an endless stream, one pass of ``length`` at a time.

    It asks where to begin at the start of every pass, so it can be told what was trained on rather than what
    was fetched: ``first`` is called once a pass, in the main process. Rank r takes every ``n_ranks``-th. This
    is a ``DistributedSampler`` because Lightning leaves those as they are and would shuffle any other.
    """

    def __init__(self, first: Callable[[], int], length: int, rank: int = 0, n_ranks: int = 1) -> None:
        super().__init__(range(length), num_replicas=n_ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]  # a range for a data set
        self.first, self.num_samples = first, length

    def __iter__(self) -> Iterator[Any]:
        begin = self.first() + self.rank
        yield from range(begin, begin + self.num_samples * self.num_replicas, self.num_replicas)


class EpisodeLoader(DataLoader[Any]):
    """A loader that tells Lightning it can resume; the position itself is kept by the datamodule."""

    def state_dict(self) -> dict[str, int]:
        """Return nothing: see ``EpisodicDataModule.state_dict``."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Do nothing: see ``EpisodicDataModule.load_state_dict``."""
