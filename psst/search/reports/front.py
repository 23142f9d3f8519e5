"""What a set of models is worth as a front: numbers that compare one search with another.

Losses are scaled by the anchors before they are measured: 0 is the best loss of any anchor, 1 the worst, for
each task. So no scale of any loss matters, and two searches with the same anchors are comparable.

References:
    Fonseca, Paquete and Lopez-Ibanez, An improved dimension-sweep algorithm for the hypervolume indicator,
    CEC 2006 (in moocore). Zhou et al., Combining model-based and genetics-based offspring generation for
    multi-objective optimization using a convergence criterion, CEC 2006 (spread). Das, On characterizing
    the "knee" of the Pareto curve based on normal-boundary intersection, Structural Optimization 18, 1999.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

_Losses = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrontScale:
    """Scales losses by those of the anchors.

    Attributes:
        ideal: ``[m]`` best loss of any anchor.
        nadir: ``[m]`` worst loss of any anchor, on the front or not: an anchor that is beaten in all tasks
            would otherwise change what the others are worth.
        margin: Where the reference point of the hypervolume lies, in units of the anchors' range above
            their best.
    """

    ideal: _Losses
    nadir: _Losses
    margin: ClassVar[float] = 1.1

    @classmethod
    def of(cls, anchors: _Losses) -> "FrontScale":
        """The scale of anchors ``[n, m]``; those with a loss that is no number do not count.

        Raises:
            ValueError: No anchor has finite losses.
        """
        finite = anchors[np.isfinite(anchors).all(axis=1)] if anchors.ndim == 2 else anchors[:0]
        if not len(finite):
            raise ValueError(
                f"`anchors` must hold finite losses [n, m] of one anchor at least, got {list(anchors.shape)} "
                "with none; a front is measured against its anchors."
            )
        return cls(finite.min(axis=0), finite.max(axis=0))

    @property
    def reference(self) -> _Losses:
        """``[m]`` the reference point of the hypervolume, as losses."""
        point: _Losses = self.ideal + self.margin * self._range
        return point

    def __call__(self, losses: _Losses) -> _Losses:
        """``[n, m]`` losses in units of the anchors' range above their best."""
        scaled: _Losses = (losses - self.ideal) / self._range
        return scaled

    @property
    def _range(self) -> _Losses:
        """A task in which all anchors are equal is measured by its loss."""
        width = self.nadir - self.ideal
        size = np.maximum(np.abs(self.ideal), np.finfo(np.float32).tiny)
        known: _Losses = np.where(width > 1e-9 * size, width, size)
        return known


def non_dominated(losses: _Losses) -> NDArray[np.bool_]:
    """Whether no other row of ``[n, m]`` is at least as good in every loss and better in one.

    Rows with a value that is no number are dominated.
    """
    import moocore

    finite = np.isfinite(losses).all(axis=1)
    kept = np.zeros(len(losses), dtype=np.bool_)
    if finite.any():
        kept[finite] = moocore.is_nondominated(losses[finite], keep_weakly=True)
    return kept


def hypervolume(losses: _Losses, scale: FrontScale) -> float:
    """Volume between ``[n, m]`` losses and the reference point, in units of the anchors' ranges."""
    import moocore

    scaled = scale(_finite(losses))
    return float(moocore.hypervolume(scaled, ref=scale.margin)) if len(scaled) else 0.0


def spread(losses: _Losses, ends: _Losses, scale: FrontScale) -> float | None:
    """How unevenly the non-dominated rows of ``[n, m]`` losses lie between the ends of a front; 0 is even.

    With d the distance of each point to its nearest neighbor and e that of each end to its nearest point:
    (sum of e + sum of abs(d - mean of d)) / (sum of e + n mean of d).

    Args:
        losses: ``[n, m]``.
        ends: ``[k, m]`` models among which the ends are, the best in each task.
        scale: Of the anchors.

    Returns:
        None below two points.
    """
    kept = np.unique(losses[non_dominated(losses)], axis=0)
    all_ends = _finite(ends)
    if len(kept) < 2 or not len(all_ends):
        return None
    points = scale(kept)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    far = scale(all_ends[all_ends.argmin(axis=0)])
    missed = np.linalg.norm(far[:, None] - points[None], axis=-1).min(axis=1).sum()
    uneven = np.abs(nearest - nearest.mean()).sum()
    return float((missed + uneven) / (missed + nearest.sum()))


def knee(losses: _Losses) -> int | None:
    """Index of the row of ``[n, m]`` that lies farthest below the plane through the ends of the front.

    Losses are scaled by the range of the front itself: the plane is where they sum to one. For m = 2 that is
    the chord between the two ends.

    Returns:
        None where no point lies below the plane, as on a front that is straight or bulges outwards.
    """
    kept = np.flatnonzero(non_dominated(losses))
    if len(kept) < 3:
        return None
    points = losses[kept]
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    if not (width > 0).all():
        return None
    below = 1.0 - ((points - low) / width).sum(axis=1)
    best = int(below.argmax())
    return int(kept[best]) if below[best] > 1e-9 else None


def _finite(losses: _Losses) -> _Losses:
    rows: _Losses = losses[np.isfinite(losses).all(axis=1)]
    return rows
