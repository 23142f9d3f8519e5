"""Episodes over embedded images, intervals, and what a comparison may claim."""

from psst.evaluation.comparison import (
    PairedDifference,
    SeedComparison,
    compare_seeds,
    paired_difference,
    t_interval,
)
from psst.evaluation.episodes import evaluate_episodes
from psst.evaluation.scores import EpisodeScores, load_scores, save_scores

__all__ = [
    "EpisodeScores",
    "PairedDifference",
    "SeedComparison",
    "compare_seeds",
    "evaluate_episodes",
    "load_scores",
    "paired_difference",
    "save_scores",
    "t_interval",
]
