"""Episodes over embedded images, intervals, and what a comparison may claim."""

from psst.evaluation.class_draw import ClassDifference, class_difference
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
    "ClassDifference",
    "EpisodeScores",
    "PairedDifference",
    "SeedComparison",
    "class_difference",
    "compare_seeds",
    "evaluate_episodes",
    "load_scores",
    "paired_difference",
    "save_scores",
    "t_interval",
]
