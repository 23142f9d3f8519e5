"""Streams of batches over an image store: item i is the same, whoever reads it and when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from psst.episodes.batch import Batch, Policies
from psst.episodes.counters import Ids, below, random_words
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Episodes
from psst.images.store import ImageStore
from psst.randomness import stream_key

_ENDLESS = 2**31  # for tools that ask; every item is valid
_NO_CLASS = -1


class EndlessShuffle:
    """Every id once, in random order, then every id once in another order, and so on.

    The id at position p depends on the key and p alone, whoever asks and in which order.
    """

    def __init__(self, ids: Ids, key: int) -> None:
        self.ids, self.key = ids, key
        self._last: tuple[int, Ids] | None = None  # the pass asked for last, and its order

    def take(self, start: int, count: int) -> Ids:
        """Return the ids at positions ``start`` to ``start + count - 1``."""
        n, end = len(self.ids), start + count
        parts = [
            self._order(number)[max(start - number * n, 0) : end - number * n]
            for number in range(start // n, -(-end // n))
        ]
        return np.concatenate([*parts, self.ids[:0]])

    def _order(self, number: int) -> Ids:
        if self._last is None or self._last[0] != number:
            words = random_words(self.key, number, 1, len(self.ids))[0]
            self._last = number, self.ids[np.argsort(words, kind="stable")]
        return self._last[1]


@dataclass(frozen=True)
class TrainingPlan:
    """What a training stream consists of; attributes as the arguments of `EpisodicDataModule`.

    Raises:
        ValueError: there are no such batches, or two of the settings contradict each other.
    """

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
                f"`data.init_args.episodes.balance={self.episodes.balance}` is of episodes; leave it out, or "
                "set `data.init_args.batches` to `episodes` or `mixed`."
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

    def samplers(self, store: ImageStore) -> list[EpisodeSampler]:
        """Return the samplers of training episodes, one for each group of training classes.

        Raises:
            ValueError: the train split cannot serve the episodes.
        """
        key = stream_key(self.seed, "train")

        def key_of(group: str) -> int:
            return key if group == "all" else stream_key(key, "group", group)

        if self.batches == "classes":
            return []
        return list(
            EpisodeSampler.of_split(store, self.name, "train", self.episodes, key_of, self.seed).values()
        )

    def shuffles(self, store: ImageStore) -> list[tuple[EndlessShuffle, int]]:
        """Return what gives images of classes, and images without one, and how many a batch.

        Raises:
            ValueError: there are no unlabeled images.
        """
        if self.n_unlabeled and not len(store.unlabeled):
            raise ValueError(
                f"`data.init_args.n_unlabeled={self.n_unlabeled}` needs unlabeled images, {self.name} has "
                "none; set it to 0, or add images without a class to the data set."
            )
        labeled = 0 if self.batches == "episodes" else self.batch_size
        kinds = (
            ("classes", store.split_ids("train"), labeled),
            ("unlabeled", store.unlabeled, self.n_unlabeled),
        )
        return [
            (EndlessShuffle(ids, stream_key(self.seed, "train", kind)), count)
            for kind, ids, count in kinds
            if count
        ]


@dataclass(frozen=True)
class Reader:
    """Makes batches of the ids of images.

    Attributes:
        store: holds the images.
        policies: make the views.
        with_pixels: read the images; otherwise whoever has them on the device looks them up.
        make: makes a batch of what it has.

    Example:
        >>> reader = Reader(store, Policies())
        >>> reader(np.arange(4), store.labels[:4], index=0).pixels.shape
        torch.Size([4, 3, 84, 84])
    """

    store: ImageStore
    policies: Policies
    with_pixels: bool = True
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
    its place in the train split.

    Raises:
        ValueError: the store cannot serve the plan.
    """

    def __init__(self, reader: Reader, plan: TrainingPlan) -> None:
        store, self.reader, self.plan = reader.store, reader, plan
        self.samplers, self.shuffles = plan.samplers(store), plan.shuffles(store)
        self._group_key = stream_key(stream_key(plan.seed, "train"), "groups")
        self._label_of = np.full(len(store.class_names) + 1, _NO_CLASS)  # the last: no class
        self._label_of[store.splits["train"]] = np.arange(len(store.splits["train"]))

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, item: int) -> Batch:
        ids = [shuffle.take(item * count, count) for shuffle, count in self.shuffles]
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
    """Every image of a split once, ordered by class, in at least ``n_parts`` batches of unlabeled rows.

    Their classes are none of the training classes, so their labels are -1; episodes are drawn from features.

    Raises:
        ValueError: there are fewer images than ``n_parts``, the processes that share them.
    """

    def __init__(self, reader: Reader, split: str, batch_size: int, n_parts: int = 1) -> None:
        self.reader, self.image_ids = reader, reader.store.split_ids(split)
        n_images = len(self.image_ids)
        if n_images < n_parts:
            raise ValueError(
                f"`trainer.devices` makes {n_parts} processes, split '{split}' has {n_images} images; "
                "use fewer."
            )
        n_batches = max(n_parts, -(-n_images // batch_size))
        self._parts = np.array_split(self.image_ids, n_batches) if n_images else []

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, item: int) -> Batch:
        ids = self._parts[item]
        return self.reader(ids, np.full(len(ids), _NO_CLASS), index=item, n_unlabeled=len(ids))
