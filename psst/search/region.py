"""The preference region: the neighboring candidates in which the main task does best (design rule 3.10)."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psst.evaluation import EpisodeScores, class_difference
from psst.search.result import Candidate


def centered_losses(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return ``[n, m]``: logarithms of the losses, centered over the tasks; 0 counts as the least float."""
    losses = np.array([list(candidate.losses.values()) for candidate in candidates])
    logarithms = np.log(np.maximum(losses, np.finfo(np.float32).tiny))
    return np.asarray(logarithms - logarithms.mean(axis=1, keepdims=True))


def neighbors(points: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, that no third point lies between: the relative neighborhood graph.

    On a line, that is with two objectives, these are the adjacent points.

    Args:
        points: ``[n, m]``, centered logarithms of the losses.

    References:
        Toussaint, The relative neighbourhood graph of a finite planar set, Pattern Recognition 12, 1980.
    """
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    pairs = []
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            others = [k for k in range(len(points)) if k not in (i, j)]
            if all(max(distance[i, k], distance[j, k]) >= distance[i, j] for k in others):
                pairs.append((i, j))
    return pairs


def region(points: NDArray[np.float64], scores: Sequence[Mapping[str, EpisodeScores]]) -> list[int]:
    """Return the candidates joined to the best one by candidates that are not significantly worse.

    Significant means that the 95% interval of the paired difference over common episodes lies below zero. It
    covers the draw of classes and of episodes, see `psst.evaluation.class_draw`: thousands of episodes over
    few classes are no proof that a candidate does worse on other classes.

    Args:
        points: ``[n, m]``, centered logarithms of the candidates' losses.
        scores: Of n candidates on the same validation episodes, by group of classes.
    """
    best = int(np.argmax([pooled(groups).mean() for groups in scores]))
    kept = {i for i, groups in enumerate(scores) if not class_difference(groups, scores[best]).worse}
    joined, frontier = {best}, [best]
    links = [pair for pair in neighbors(points) if kept.issuperset(pair)]
    while frontier:
        here = frontier.pop()
        reached = {j if i == here else i for i, j in links if here in (i, j)} - joined
        joined |= reached
        frontier.extend(reached)
    return sorted(joined)


def pooled(scores: Mapping[str, EpisodeScores]) -> NDArray[np.float64]:
    """``[n]`` accuracies of the episodes of all groups of classes, one after the other."""
    values = [scores[group].accuracies for group in sorted(scores)]
    return np.concatenate(values).astype(np.float64)
