"""Few-shot episodes: index arithmetic, and the batches that loaders read."""

from psst.episodes.batch import Batch as Batch
from psst.episodes.batch import EpisodeShape as EpisodeShape
from psst.episodes.batch import Policies as Policies
from psst.episodes.sampler import EpisodeIndices as EpisodeIndices
from psst.episodes.sampler import EpisodeSampler as EpisodeSampler
from psst.episodes.settings import Episodes as Episodes
from psst.episodes.settings import Evaluation as Evaluation
