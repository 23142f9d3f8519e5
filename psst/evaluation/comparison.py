"""Differences between methods over seeds, and what may be said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

_MIN_SEEDS = 5
_Verdict = Literal["too few seeds", "better", "worse", "equal", "undecided"]


@dataclass(frozen=True)
class SeedComparison:
    """Mean difference over seeds with its 95% t-interval, and what may be said of it.

    Attributes:
        mean: of the differences.
        half_width: of the interval; infinite for one seed.
        n: number of seeds.
        verdict: "too few seeds" below five.

    Example:
        >>> print(SeedComparison(mean=0.01, half_width=0.002, n=5, verdict="better"))
        +1.00 +- 0.20 points (5 seeds: better)
    """

    mean: float
    half_width: float
    n: int
    verdict: _Verdict

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:+.2f} +- {100 * self.half_width:.2f} points ({self.n} seeds: {self.verdict})"
        )


def t_interval(per_seed: Sequence[float]) -> tuple[float, float]:
    """Return mean and half width of Student's 95% interval over one value a seed.

    Raises:
        ValueError: fewer than two seeds, or a value that is not finite.
    """
    values = np.asarray(per_seed, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"an interval over seeds needs at least 2 seeds, found {values.size}; run more seeds."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"`per_seed={values.tolist()}` holds a value that is not finite; leave out failed runs."
        )
    quantile = float(stats.t.ppf(0.975, df=len(values) - 1))
    return float(values.mean()), quantile * float(values.std(ddof=1)) / float(np.sqrt(len(values)))


def compare_seeds(differences: Sequence[float], margin: float | None = None) -> SeedComparison:
    """Say what differences, one a seed, allow to be claimed; nothing with fewer than five of them.

    Args:
        differences: accuracy of one method minus that of another, paired by seed.
        margin: differences up to this size do not matter; "equal" means that the whole interval lies within
            it, and is never said without it.

    Raises:
        ValueError: no difference, or one that is not finite.
    """
    n = len(differences)
    if n == 1 and np.isfinite(differences[0]):
        return SeedComparison(float(differences[0]), float("inf"), 1, "too few seeds")
    mean, half = t_interval(differences)
    return SeedComparison(mean, half, n, _verdict(mean, half, n, margin))


def _verdict(mean: float, half: float, n: int, margin: float | None) -> _Verdict:
    if n < _MIN_SEEDS:
        return "too few seeds"
    if margin is not None and abs(mean) + half <= margin:
        return "equal"
    if mean - half > 0:
        return "better"
    return "worse" if mean + half < 0 else "undecided"
