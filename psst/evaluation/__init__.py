"""Episodes over embedded images, intervals, and what a comparison may claim."""

from psst.evaluation.class_draw import ClassDifference as ClassDifference
from psst.evaluation.class_draw import class_difference as class_difference
from psst.evaluation.episodes import episode_logits as episode_logits
from psst.evaluation.episodes import evaluate_episodes as evaluate_episodes
from psst.evaluation.scores import EpisodeScores as EpisodeScores
from psst.evaluation.scores import load_scores as load_scores
from psst.evaluation.scores import save_scores as save_scores
