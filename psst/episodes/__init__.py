"""Few-shot episodes: index arithmetic, and the data sets that loaders read."""

from psst.episodes.episode import ClassBatch, Episode
from psst.episodes.frozen import FrozenEpisodes, load_episodes, save_episodes
from psst.episodes.image_split import ImageSplit
from psst.episodes.indices import EpisodeIndices, LabeledIndices
from psst.episodes.order import EpisodeLoader, EpisodeOrder, SplitOrder
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.shuffle import EndlessShuffle
from psst.episodes.stream import ClassStream, EpisodeStream
from psst.episodes.varied import VariedSampler

__all__ = [
    "ClassBatch",
    "ClassStream",
    "EndlessShuffle",
    "Episode",
    "EpisodeIndices",
    "EpisodeLoader",
    "EpisodeOrder",
    "EpisodeSampler",
    "EpisodeStream",
    "FrozenEpisodes",
    "ImageSplit",
    "LabeledIndices",
    "SplitOrder",
    "VariedSampler",
    "load_episodes",
    "save_episodes",
]
