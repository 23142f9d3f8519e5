"""The preference region: the neighboring candidates in which the main task does best (design rule 3.10)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psst.evaluation.scores import half_width

__all__ = ["neighbors", "region"]


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


def region(points: NDArray[np.float64], accuracies: Sequence[NDArray[np.floating]]) -> list[int]:
    """Return the candidates joined to the best one by candidates that are not significantly worse.

    Significant means that the 95% interval of the paired difference over common episodes lies below zero.
    That interval covers the draw of episodes only.

    Args:
        points: ``[n, m]``, centered logarithms of the candidates' losses.
        accuracies: n arrays ``[episodes]`` of main-task accuracies on the same validation episodes.
    """
    best = int(np.argmax([scores.mean() for scores in accuracies]))
    kept = {i for i, scores in enumerate(accuracies) if not significantly_worse(scores, accuracies[best])}
    joined, frontier = {best}, [best]
    links = [pair for pair in neighbors(points) if kept.issuperset(pair)]
    while frontier:
        here = frontier.pop()
        reached = {j if i == here else i for i, j in links if here in (i, j)} - joined
        joined |= reached
        frontier.extend(reached)
    return sorted(joined)


def significantly_worse(scores: NDArray[np.floating], reference: NDArray[np.floating]) -> bool:
    """Whether `scores` lies below `reference` by more than 1.96 standard errors of the paired difference."""
    difference = scores.astype(np.float64) - reference.astype(np.float64)
    return bool(difference.mean() + half_width(difference) < 0)
