"""Few-shot episodes: index arithmetic, and the data sets that loaders read."""

from psst.episodes.episode import Episode
from psst.episodes.sampler import EpisodeIndices, EpisodeSampler
from psst.episodes.stream import EpisodeLoader, EpisodeOrder, EpisodeStream, ImageSplit

__all__ = [
    "Episode",
    "EpisodeIndices",
    "EpisodeLoader",
    "EpisodeOrder",
    "EpisodeSampler",
    "EpisodeStream",
    "ImageSplit",
]
