"""Validation classes in two halves: one chooses, the other confirms."""

from collections.abc import Mapping

import numpy as np

from psst.episodes import EpisodeSampler, FrozenEpisodes
from psst.episodes.recipes import class_sampler
from psst.evaluation import EpisodeScores
from psst.images.store import ImageStore
from psst.randomness import stream_key

__all__ = ["halved", "reason_against", "split_scores"]

CHOOSES, CONFIRMS = "-chooses", "-confirms"
LEAST = 2
"""Classes of each half, in units of the classes of an episode: with fewer, all episodes are alike."""


def reason_against(plan: Mapping[str, EpisodeSampler]) -> str:
    """Say why the classes of a plan, by group, cannot be halved; empty if they can."""
    for group, sampler in plan.items():
        if isinstance(sampler, FrozenEpisodes):
            return f"the episodes of '{group}' come from a list, so that none can be drawn within a half"
        classes, needed = len(sampler.class_ids) // 2, LEAST * sampler.n_way
        if classes < needed:
            return (
                f"half of the {len(sampler.class_ids)} validation classes of '{group}' are {classes}, "
                f"{needed} are needed for episodes of {sampler.n_way}"
            )
    return ""


def halved(plan: Mapping[str, EpisodeSampler], store: ImageStore) -> dict[str, EpisodeSampler]:
    """Return two samplers for each group of classes, each drawing episodes within its own half.

    Which class is in which half depends on the group's random stream alone.
    """
    halves: dict[str, EpisodeSampler] = {}
    for group, whole in plan.items():
        key = stream_key(whole.key, "halves")
        shuffled = np.random.Generator(np.random.Philox(key=key)).permutation(whole.class_ids)
        middle = len(shuffled) // 2
        for suffix, part in ((CHOOSES, shuffled[:middle]), (CONFIRMS, shuffled[middle:])):
            halves[group + suffix] = class_sampler(
                store,
                np.sort(part),
                whole.n_way,
                whole.n_shot,
                whole.n_query,
                stream_key(whole.key, suffix),
                whole.seed,
            )
    return halves


def split_scores(
    scores: Mapping[str, EpisodeScores],
) -> tuple[dict[str, EpisodeScores], dict[str, EpisodeScores]]:
    """Return the scores that choose and those that confirm, by group; all choose if there are no halves."""
    chooses = {name.removesuffix(CHOOSES): one for name, one in scores.items() if name.endswith(CHOOSES)}
    confirms = {name.removesuffix(CONFIRMS): one for name, one in scores.items() if name.endswith(CONFIRMS)}
    return (chooses, confirms) if confirms else (dict(scores), {})
