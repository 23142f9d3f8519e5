"""Samplers of episodes made from a store and the settings of a run."""

from dataclasses import dataclass

import numpy as np

from psst.episodes.checks import bounds, class_groups
from psst.episodes.counters import Ids, below, random_words
from psst.episodes.indices import LabeledIndices
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Episodes
from psst.episodes.varied import VariedSampler
from psst.images.store import ImageStore
from psst.randomness import stream_key


@dataclass
class _GroupedSampler:
    """Batches of episodes, each batch within one group of classes; every group as often as the others.

    Args:
        samplers: one a group, at least one.
        key: of the choice of the group.
    """

    samplers: list[VariedSampler]
    key: int

    def batch(self, item: int, size: int) -> LabeledIndices:
        """Return the ``size`` episodes of batch ``item``."""
        group = below(random_words(self.key, item, 1, 1)[0], np.int64(len(self.samplers)))
        return self.samplers[int(group[0])].batch(item, size)


def class_sampler(
    store: ImageStore, classes: Ids, way: int, shot: int, query: int, key: int, seed: int
) -> EpisodeSampler:
    """Return the sampler of episodes of these classes of a store; see `EpisodeSampler`."""
    ids = [store.image_ids(int(class_id)) for class_id in classes]
    groups = store.image_groups if store.n_image_groups else None
    return EpisodeSampler(ids, classes, way, shot, query, key, seed, groups)


def training_sampler(
    store: ImageStore, episodes: Episodes, key: int, seed: int
) -> VariedSampler | _GroupedSampler:
    """Return the sampler of training episodes, within the groups of the train split if it has any.

    A group with fewer classes than asked for gives all it has.
    """
    groups = class_groups(store, "train")
    if list(groups) == ["all"]:
        return _varied(store, groups["all"], episodes, key, seed)
    samplers = [
        _varied(store, classes, episodes, stream_key(key, "group", group), seed)
        for group, classes in groups.items()
    ]
    return _GroupedSampler(samplers, stream_key(key, "groups"))


def _varied(store: ImageStore, classes: Ids, episodes: Episodes, key: int, seed: int) -> VariedSampler:
    fewest, most = (min(way, len(classes)) for way in bounds(episodes.way))
    shots = bounds(episodes.shot)
    widest = class_sampler(store, classes, most, shots[1], episodes.query, key, seed)
    return VariedSampler(widest, fewest, shots[0], episodes.balance)
