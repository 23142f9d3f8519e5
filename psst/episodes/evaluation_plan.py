"""The evaluation episodes of a run: drawn, or from a list in a file."""

from dataclasses import dataclass
from pathlib import Path

from psst.episodes.checks import check_images, check_way, class_groups
from psst.episodes.frozen import FrozenEpisodes, load_episodes, save_episodes
from psst.episodes.recipes import class_sampler
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Evaluation
from psst.images.store import ImageStore
from psst.randomness import stream_key

_SPLITS = ("val", "test")


@dataclass(frozen=True)
class EvaluationPlan:
    """What validation and test episodes look like.

    Attributes:
        settings: of the episodes.
        seed: of all of them.
    """

    settings: Evaluation
    seed: int

    def check(self, store: ImageStore, name: str) -> None:
        """Hold the splits of ``store``, of the data set ``name``, against the plan.

        Raises:
            ValueError: too few classes, or too few images in a class.
        """
        for split in _SPLITS:
            check_way(store, name, split, ("evaluation.way", self.settings.way))
            shot, query = ("evaluation.shot", self.settings.shot), ("evaluation.query", self.settings.query)
            check_images(store, name, split, shot, query)

    def listed(self, store: ImageStore) -> dict[str, dict[str, FrozenEpisodes]]:
        """Return the episodes of the file, by split and group; raises as `load_episodes` does."""
        return load_episodes(self.settings.file, store) if self.settings.file else {}

    def drawn(self, store: ImageStore, split: str) -> dict[str, EpisodeSampler]:
        """Return a sampler for each group of ``split``; "all" if there are none."""
        return {
            group: class_sampler(
                store,
                classes,
                min(self.settings.way, len(classes)),
                self.settings.shot,
                self.settings.query,
                stream_key(self.seed, split, "evaluation", group),
                self.seed,
            )
            for group, classes in class_groups(store, split).items()
        }


class EvaluationEpisodes:
    """The episodes of a plan on a store.

    Args:
        plan: what they look like.
        store: holds the images.

    Raises:
        FileNotFoundError: the plan's file is not there.
        ValueError: it is no list of episodes, or one of other data.
    """

    def __init__(self, plan: EvaluationPlan, store: ImageStore) -> None:
        self.plan, self.store, self._listed = plan, store, plan.listed(store)

    def samplers(self, split: str) -> dict[str, EpisodeSampler]:
        """Return what gives the episodes of each group of ``split``."""
        if split in self._listed:
            return dict(self._listed[split])
        return self.plan.drawn(self.store, split)

    def count(self, split: str) -> int:
        """Return how many episodes of each group to evaluate: no more than a list has."""
        listed = [len(episodes) for episodes in self._listed.get(split, {}).values()]
        asked = {"val": self.plan.settings.val_episodes, "test": self.plan.settings.test_episodes}
        return min([asked[split], *listed])

    def save(self, path: str | Path) -> None:
        """Write them all to a list; raises as `save_episodes` does."""
        plans = {split: self.samplers(split) for split in _SPLITS}
        save_episodes(path, plans, {split: self.count(split) for split in _SPLITS}, self.store)
