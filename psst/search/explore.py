"""Preferred Pareto exploration by interpolation between neighboring solutions (design rule 3.11).

Weights are averaged, BatchNorm statistics renewed, and the result is held against the chord on fresh
episodes.

References:
    Ramé et al., Rewarded soups, NeurIPS 2023. Jiang et al., ForkMerge, NeurIPS 2023. Neither renews the
    BatchNorm statistics nor tests the chord; we do both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psst.search.result import Candidate, loss_matrix

State = dict[str, Tensor]


def centered_losses(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return ``[n, m]``: logarithms of the losses, centered over the tasks; 0 counts as the least float."""
    logarithms = np.log(np.maximum(loss_matrix(candidates), np.finfo(np.float32).tiny))
    return np.asarray(logarithms - logarithms.mean(axis=1, keepdims=True))


def neighbors(points: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of points ``[n, m]`` that no third one lies between.

    They make the relative neighborhood graph; on a line, with two objectives, these are the adjacent points.

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


@dataclass(frozen=True)
class Mix:
    """An average of solutions: `shares[i]` of the candidate called `parents[i]`; the shares sum to one."""

    name: str
    parents: tuple[str, ...]
    shares: tuple[float, ...]


def plan_mixes(
    names: Sequence[str],
    links: Sequence[tuple[int, int]],
    members: Sequence[int],
    positions: Sequence[float],
    at_most: int,
) -> list[Mix]:
    """Return the averages to try: those between neighbors of the region first, then the region's mean.

    Where the region has a single member, its links to the candidates around it are used.
    """
    inside = [link for link in links if set(link) <= set(members)]
    chosen = inside or [link for link in links if set(link) & set(members)]
    mixes = []
    if len(members) > 2:
        share = 1 / len(members)
        mixes.append(Mix("mix-region", tuple(names[i] for i in members), (share,) * len(members)))
    for t in sorted(
        positions, key=lambda value: abs(value - 0.5)
    ):  # midpoints first: a cut list keeps spread
        for one, other in ((names[i], names[j]) for i, j in chosen):
            mixes.append(Mix(f"mix-{one}-{other}-{t:g}", (one, other), (1 - t, t)))
    return mixes[:at_most]


def average(states: Sequence[State], shares: Sequence[float]) -> State:
    """Average state dicts, heads and floating-point buffers included; counters are taken from the first."""
    mixed: State = {}
    for key, first in states[0].items():
        if first.is_floating_point():
            total = sum(share * state[key].double() for share, state in zip(shares, states, strict=True))
            mixed[key] = torch.as_tensor(total).to(first.dtype)
        else:
            mixed[key] = first.clone()
    return mixed


@dataclass(frozen=True)
class _ChordCheck:
    """How far an average lies above the chord of its parents, per task, on fresh paired episodes."""

    excess: NDArray[np.float64]  # ``[m]``, mean loss minus the chord's; negative is below the chord
    standard_error: NDArray[np.float64]  # ``[m]``, of that mean over episodes

    @property
    def accepted(self) -> bool:
        """At or below the chord: for no task above it by more than two standard errors."""
        return bool((self.excess <= 2 * self.standard_error).all())


def chord_check(
    mixed: NDArray[np.float64], parents: Sequence[NDArray[np.float64]], shares: Sequence[float]
) -> _ChordCheck:
    """Compare losses ``[episodes, m]`` of an average with the mix of its parents' on the same episodes."""
    chord = sum(share * losses for share, losses in zip(shares, parents, strict=True))
    excess = np.asarray(mixed - chord)
    if len(excess) < 2:
        return _ChordCheck(excess.mean(axis=0), np.full(excess.shape[1], np.inf))
    return _ChordCheck(excess.mean(axis=0), excess.std(axis=0, ddof=1) / np.sqrt(len(excess)))


def scaled_chord(
    known: NDArray[np.float64],
    shares: Sequence[float],
    mixed: NDArray[np.float64],
    parents: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Losses ``[m]`` of an average on the scale on which those of its parents are known.

    The chord of what is known, times the ratio of the average's loss to the chord's on the same batches.

    Args:
        known: ``[parents, m]``, positive.
        shares: Of the parents.
        mixed: ``[batches, m]`` losses of the average.
        parents: Their losses ``[batches, m]`` on the same batches.
    """
    chord = sum(share * losses.mean(axis=0) for share, losses in zip(shares, parents, strict=True))
    ratio = mixed.mean(axis=0) / np.maximum(chord, np.finfo(np.float32).tiny)
    return np.asarray((np.asarray(shares) @ known) * ratio)
