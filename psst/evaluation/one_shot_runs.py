"""Accuracy in the twenty official one-shot runs of Omniglot."""

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from psst.episodes import EpisodeIndices, FrozenEpisodes
from psst.episodes.one_shot_runs import OneShotRun
from psst.evaluation.comparison import t_interval
from psst.evaluation.episodes import Head, evaluate_episodes
from psst.evaluation.scores import EpisodeScores


def evaluate_one_shot_runs(
    embed: Callable[[Tensor], Tensor], runs: Sequence[OneShotRun], head: Head
) -> EpisodeScores:
    """Classify the test drawings of every run by their features; a run is an episode.

    Args:
        embed: maps images ``[n, C, H, W]`` uint8 to features ``[n, D]``; `FewShotModule.embed`, say. Drawings
            are embedded run by run; no drawing's features may depend on the others'.
        runs: of `psst.episodes.one_shot_runs.read_one_shot_runs`.
        head: as `evaluate_episodes` takes it.

    Raises:
        ValueError: there are no runs, or features are as `evaluate_episodes` refuses them.
    """
    if not runs:
        raise ValueError("`runs` is empty; read them with `read_one_shot_runs(path)`.")
    answers = np.stack([run.answers.numpy() for run in runs])
    drawings = np.arange(2 * answers.size).reshape(len(runs), 2, -1)  # supports, then queries
    queries = np.take_along_axis(drawings[:, 1], answers.argsort(axis=1), axis=1)
    classes = np.arange(answers.size).reshape(answers.shape)
    episodes = EpisodeIndices(classes, drawings[:, 0, :, None], queries[..., None])
    stream = hashlib.blake2b(repr(answers.tolist()).encode(), digest_size=16).hexdigest()
    with torch.no_grad():
        features = torch.cat([embed(run.images) for run in runs])
    return evaluate_episodes(features, FrozenEpisodes(episodes, stream, seed=0), head, len(runs))


def report_one_shot_runs(scores: EpisodeScores) -> str:
    """Say the error of each run, 1 - accuracy as Lake et al. have it, and the mean with its t-interval."""
    lines = [f"run{i:02}  error {100 * (1 - a):5.1f} %" for i, a in enumerate(scores.accuracies, start=1)]
    half = t_interval(scores.accuracies.tolist())[1] if scores.n > 1 else math.inf
    mean = f"mean   error {100 * (1 - scores.mean):5.1f} +- {100 * half:.1f} %"
    return "\n".join([*lines, f"{mean} ({scores.n} runs, 95% t-interval over runs)"])
