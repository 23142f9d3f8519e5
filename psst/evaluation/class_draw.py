r"""Intervals that know that classes are drawn, too.

Thousands of episodes over few classes tell exactly how two models differ on these classes, and little of how
they differ on others. The mean over all episodes of N of M classes is a U-statistic of degree N of the
classes; its variance over their draw is estimated by leaving one class out at a time,

.. math:: V = \frac{M-1}{M} \sum_c (u_{-c} - u)^2,

with u the mean over all episodes and u_{-c} that over the episodes without class c. Since the episodes are a
sample, so are these means: what their noise adds to the sum is subtracted, and the variance of u over the
draw of episodes is added once.

References:
    Arvesen, Jackknifing U-statistics, Annals of Mathematical Statistics 40, 1969. Efron and Stein, The
    jackknife estimate of variance, Annals of Statistics 9, 1981: on average not below the true variance.
    Departure: the correction for the draw of episodes is ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from psst.evaluation.scores import EpisodeScores, half_width

_MIN_LEFT_OUT = 2  # classes that an episode leaves out: else there is nothing to leave a class out of


@dataclass(frozen=True)
class ClassDifference:
    """Mean accuracy, or another quality, of one model minus that of another, over common episodes.

    Attributes:
        mean: Over all episodes of all groups of classes.
        half_width: Of the 95% interval over the draw of classes and of episodes; infinite if nothing tells.
        episode_half_width: Of the one over the draw of episodes alone.
        n_classes: Classes that the interval covers, 0 where their draw cannot be told: episodes that do not
            say of which classes they are, or that leave hardly any class out.
        n: Episodes.

    Example:
        >>> ClassDifference(mean=0.02, half_width=0.01, episode_half_width=0.005, n_classes=20, n=100).better
        True
    """

    mean: float
    half_width: float = math.inf
    episode_half_width: float = math.inf
    n_classes: int = 0
    n: int = 0

    @property
    def standard_error(self) -> float:
        """About half of `half_width`; 0 where nothing tells."""
        return self.half_width / 2.0 if math.isfinite(self.half_width) else 0.0

    @property
    def covers(self) -> str:
        """What the interval covers."""
        if self.n_classes:
            return f"the draw of classes ({self.n_classes}) and of episodes ({self.n})"
        return f"the draw of episodes ({self.n}) only"

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.mean + self.half_width < 0

    @property
    def better(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.mean - self.half_width > 0

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} +- {100 * self.half_width:.2f} points (over {self.covers})"


def class_difference(one: Mapping[str, EpisodeScores], other: Mapping[str, EpisodeScores]) -> ClassDifference:
    """Compare two models on the same episodes, group by group; groups are what they are, not drawn.

    Raises:
        ValueError: The two were not scored on the same episodes.
    """
    if list(one) != list(other):
        raise ValueError(f"the two scores are of {list(one)} and of {list(other)}; compare the same groups.")
    for a, b in zip(one.values(), other.values(), strict=True):
        if a.stream != b.stream or a.n != b.n:
            raise ValueError(
                f"the two scores come from different episodes ({_setting(a)} against {_setting(b)}); "
                "evaluate both on the same data with equal `evaluation` and `seed`."
            )
    differences = [one[group].accuracies.astype(np.float64) - other[group].accuracies for group in one]
    return _pooled_difference(differences, [one[group].class_ids for group in one])


def mean_accuracy(scores: Mapping[str, EpisodeScores]) -> ClassDifference:
    """Mean and interval of one model's accuracy, in [0, 1]: its difference to nothing."""
    groups = scores.values()
    return _pooled_difference([one.accuracies for one in groups], [one.class_ids for one in groups])


def _pooled_difference(
    differences: Sequence[npt.NDArray[np.floating]], class_ids: Sequence[npt.NDArray[np.integer] | None]
) -> ClassDifference:
    """Mean and interval of differences ``[n]``, one array a group, of episodes of classes ``[n, N]``."""
    pooled = np.concatenate(differences).astype(np.float64)
    n, by_episodes = len(pooled), half_width(pooled)
    variance, n_classes, groups = 0.0, 0, 0
    for values, ids in zip(differences, class_ids, strict=True):
        found = None if ids is None else _class_variance(values, ids)
        if found is None or n < 2:
            return ClassDifference(float(pooled.mean()), by_episodes, by_episodes, 0, n)
        variance += (len(values) / n) ** 2 * found[0]
        n_classes, groups = n_classes + found[1], groups + 1
    quantile = float(stats.t.ppf(0.975, df=n_classes - groups))
    half = max(quantile * math.sqrt(variance), by_episodes)
    return ClassDifference(float(pooled.mean()), half, by_episodes, n_classes, n)


def _class_variance(
    values: npt.NDArray[np.floating], class_ids: npt.NDArray[np.integer]
) -> tuple[float, int] | None:
    """Variance of the mean of values over the draw of classes and episodes, and the number M of classes.

    None where episodes leave out fewer than two classes, or a class is in all episodes or in none.
    """
    classes, places = np.unique(class_ids, return_inverse=True)
    n, way, m = len(values), class_ids.shape[1], len(classes)
    if m - way < _MIN_LEFT_OUT:
        return None
    member = np.zeros((n, m), dtype=bool)
    member[np.arange(n)[:, None], places.reshape(class_ids.shape)] = True
    without = n - member.sum(axis=0)
    if (without < 2).any():
        return None
    centered = values.astype(np.float64) - values.mean(dtype=np.float64)
    left_out = -(centered @ member) / without  # mean without the class, minus the mean of all
    noise = centered.var(ddof=1) * (1.0 / without - 1.0 / n)  # of that difference, over the draw of episodes
    over_classes = (m - 1) / m * float((left_out**2 - noise).sum())
    return max(over_classes, 0.0) + float(centered.var(ddof=1)) / n, m


def _setting(scores: EpisodeScores) -> str:
    setting = f"{scores.n_way}-way {scores.n_shot}-shot {scores.n_query}-query, {scores.n} episodes"
    return f"{setting}, seed {scores.seed}, stream {scores.stream[:8]}"
