"""Few-shot episodes: index arithmetic, and the batches that loaders read."""

from psst.episodes.batch import Batch as Batch
from psst.episodes.batch import EpisodeShape as EpisodeShape
from psst.episodes.batch import Policies as Policies
from psst.episodes.evaluation_plan import EvaluationEpisodes as EvaluationEpisodes
from psst.episodes.evaluation_plan import FrozenEpisodes as FrozenEpisodes
from psst.episodes.sampler import EpisodeIndices as EpisodeIndices
from psst.episodes.sampler import EpisodeSampler as EpisodeSampler
from psst.episodes.settings import Episodes as Episodes
from psst.episodes.settings import Evaluation as Evaluation
from psst.episodes.stream import BatchStream as BatchStream
from psst.episodes.stream import EpisodeLoader as EpisodeLoader
from psst.episodes.stream import EpisodeOrder as EpisodeOrder
from psst.episodes.stream import ImageSplit as ImageSplit
from psst.episodes.stream import Reader as Reader
from psst.episodes.stream import TrainingPlan as TrainingPlan
