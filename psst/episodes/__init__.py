"""Few-shot episodes: index arithmetic, and the batches that loaders read."""

from psst.episodes.batch import Batch, EpisodeShape, Policies
from psst.episodes.frozen import FrozenEpisodes, load_episodes, save_episodes
from psst.episodes.indices import EpisodeIndices, LabeledIndices
from psst.episodes.order import EpisodeLoader, EpisodeOrder, SplitOrder
from psst.episodes.sampler import EpisodeSampler
from psst.episodes.settings import Episodes, Evaluation
from psst.episodes.shuffle import EndlessShuffle
from psst.episodes.stream import BatchStream, ImageSplit
from psst.episodes.varied import VariedSampler

__all__ = [
    "Batch",
    "BatchStream",
    "EndlessShuffle",
    "EpisodeIndices",
    "EpisodeLoader",
    "EpisodeOrder",
    "EpisodeSampler",
    "EpisodeShape",
    "Episodes",
    "Evaluation",
    "FrozenEpisodes",
    "ImageSplit",
    "LabeledIndices",
    "Policies",
    "SplitOrder",
    "VariedSampler",
    "load_episodes",
    "save_episodes",
]
