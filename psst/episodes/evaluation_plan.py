"""The evaluation episodes of a run: drawn, or from a list in a file."""

from pathlib import Path

from psst.episodes.checks import check_split, class_groups
from psst.episodes.frozen import load_episodes, save_episodes
from psst.episodes.recipes import class_sampler
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Evaluation
from psst.images.store import ImageStore
from psst.randomness import stream_key

_SPLITS = ("val", "test")


class EvaluationEpisodes:
    """What validation and test episodes over a store look like.

    Args:
        settings: of the episodes.
        seed: of all that are drawn.
        store: holds the images.
        name: of the data set, for messages.

    Raises:
        FileNotFoundError: the file of the settings is not there.
        ValueError: too few classes, or too few images in a class; the file is no list of episodes, or one of
            other data.
    """

    def __init__(self, settings: Evaluation, seed: int, store: ImageStore, name: str) -> None:
        self.settings, self.seed, self.store = settings, seed, store
        for split in _SPLITS:
            check_split(store, name, split, "evaluation", settings)
        self._listed = load_episodes(settings.file, store) if settings.file else {}

    def samplers(self, split: str) -> dict[str, EpisodeSampler]:
        """Return what gives the episodes of each group of ``split``; one called "all" if there are none."""
        if split in self._listed:
            return dict(self._listed[split])
        return {
            group: class_sampler(
                self.store,
                classes,
                min(self.settings.way, len(classes)),
                self.settings.shot,
                self.settings.query,
                stream_key(self.seed, split, "evaluation", group),
                self.seed,
            )
            for group, classes in class_groups(self.store, split).items()
        }

    def count(self, split: str) -> int:
        """Return how many episodes of each group to evaluate: no more than a list has."""
        asked = {"val": self.settings.val_episodes, "test": self.settings.test_episodes}
        return min([asked[split], *map(len, self._listed.get(split, {}).values())])

    def save(self, path: str | Path) -> None:
        """Write them all to a list; raises as `save_episodes` does."""
        plans = {split: self.samplers(split) for split in _SPLITS}
        save_episodes(path, plans, {split: self.count(split) for split in _SPLITS}, self.store)
