"""The training stream of a run: which batches, and how many make a pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from psst.episodes.batch import Batch, Policies
from psst.episodes.checks import bounds, check_split
from psst.episodes.counters import Ids, below, random_words
from psst.episodes.sampler import EpisodeSampler, LabeledIndices
from psst.episodes.settings import Episodes
from psst.episodes.stream import BatchStream, EndlessShuffle
from psst.episodes.varied import VariedSampler
from psst.images.store import ImageStore
from psst.randomness import stream_key


@dataclass
class _GroupedSampler:
    """Batches of episodes, each batch within one group of classes; every group as often as the others."""

    samplers: list[VariedSampler]
    key: int

    def batch(self, item: int, size: int) -> LabeledIndices:
        group = below(random_words(self.key, item, 1, 1)[0], np.int64(len(self.samplers)))
        return self.samplers[int(group[0])].batch(item, size)


@dataclass(frozen=True)
class TrainingPlan:
    """What a training stream consists of; attributes as the arguments of `EpisodicDataModule`."""

    batches: Literal["episodes", "classes", "mixed"]
    episodes: Episodes
    batch_size: int
    n_unlabeled: int
    seed: int

    @property
    def per_batch(self) -> int:
        """Episodes, or images, of one batch."""
        return self.batch_size if self.batches == "classes" else self.episodes.per_batch

    def check(self, store: ImageStore, name: str) -> None:
        """Raise ValueError if the train split of ``store``, of the data set ``name``, cannot serve it."""
        if self.batches != "classes":
            check_split(store, name, "train", "episodes", self.episodes)
        if self.n_unlabeled and not len(store.unlabeled):
            raise ValueError(
                f"`data.init_args.n_unlabeled={self.n_unlabeled}` needs unlabeled images, {name} has none; "
                "set it to 0, or add images without a class to the data set."
            )

    def stream(
        self,
        store: ImageStore,
        policies: Policies,
        with_pixels: bool = True,
        make: Callable[..., Batch] = Batch,
    ) -> BatchStream:
        """Return the endless stream of batches."""
        classes, unlabeled = None, None
        sampler = None if self.batches == "classes" else self._sampler(store)
        if self.batches != "episodes":
            key = stream_key(self.seed, "train", "classes")
            classes = EndlessShuffle(store.split_ids("train"), key, self.batch_size)
        if self.n_unlabeled:
            key = stream_key(self.seed, "train", "unlabeled")
            unlabeled = EndlessShuffle(store.unlabeled, key, self.n_unlabeled)
        n_episodes, labels = self.episodes.per_batch, store.splits["train"]
        parts = (sampler, n_episodes, classes, unlabeled)
        return BatchStream(store, labels, policies, *parts, with_pixels, make)

    def pass_length(self, store: ImageStore, n_ranks: int) -> int:
        """Return the batches of one pass on each of ``n_ranks``: an epoch as Lightning counts them.

        It need not divide anything: the next pass begins with the first batch that no rank has seen.
        """
        if self.batches == "classes":
            return -(-len(store.split_ids("train")) // (self.batch_size * n_ranks))
        return max(1, self.episodes.per_epoch // (self.episodes.per_batch * n_ranks))

    def _sampler(self, store: ImageStore) -> VariedSampler | _GroupedSampler:
        """Return the sampler of episodes, within the groups of the train split if it has any."""
        key, groups = stream_key(self.seed, "train"), store.class_groups("train")
        if list(groups) == ["all"]:
            return self._varied(store, groups["all"], key)
        samplers = [
            self._varied(store, ids, stream_key(key, "group", group)) for group, ids in groups.items()
        ]
        return _GroupedSampler(samplers, stream_key(key, "groups"))

    def _varied(self, store: ImageStore, classes: Ids, key: int) -> VariedSampler:
        """Return the sampler of episodes of some classes; fewer than asked for give all they are."""
        episodes, shots = self.episodes, bounds(self.episodes.shot)
        fewest, most = (min(way, len(classes)) for way in bounds(episodes.way))
        widest = EpisodeSampler.of(store, classes, most, shots[1], episodes.query, key, self.seed)
        return VariedSampler(widest, fewest, shots[0], episodes.balance)
