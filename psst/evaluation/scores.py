"""Scores of single episodes: what every later comparison is made from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.files import read_npz, write_npz

_FORMAT = 1
_NUMBERS = ("seed", "n_way", "n_shot", "n_query", "stream")
_ADVICE = "give a test_scores.npz that `psst test` or `psst search` has written"


@dataclass(frozen=True, eq=False)
class EpisodeScores:
    """Accuracy and loss of each episode of a stream.

    Attributes:
        accuracies: ``[n]`` float32, share of queries classified right.
        losses: ``[n]`` float32, mean cross-entropy of the queries.
        stream: fingerprint of the episodes; two scores can be paired if theirs agree.
        seed: the user's seed of the episodes.
        n_way: classes an episode.
        n_shot: support images a class.
        n_query: query images a class.
        class_ids: ``[n, N]`` classes of each episode; None where they are not known.

    Example:
        >>> accuracies = np.array([0.5, 1.0], dtype=np.float32)
        >>> scores = EpisodeScores(accuracies, 1 - accuracies, "s", seed=0, n_way=5, n_shot=1, n_query=15)
        >>> scores.n, scores.mean
        (2, 0.75)
    """

    accuracies: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]
    stream: str
    seed: int
    n_way: int
    n_shot: int
    n_query: int
    class_ids: npt.NDArray[np.int32] | None = None

    @property
    def n(self) -> int:
        """Number of episodes."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(self.accuracies.mean(dtype=np.float64))

    @property
    def half_width(self) -> float:
        """Half of the 95% interval over the draw of episodes: 1.96 std(ddof=1) / sqrt(n)."""
        return half_width(self.accuracies)

    def __str__(self) -> str:
        setting = f"{self.n_way}-way {self.n_shot}-shot, {self.n} episodes, seed {self.seed}"
        return f"{100 * self.mean:.2f} +- {100 * self.half_width:.2f} % ({setting})"


def half_width(values: npt.NDArray[np.floating]) -> float:
    """Return 1.96 std(ddof=1) / sqrt(n); infinite below two values."""
    if len(values) < 2:
        return math.inf
    return 1.96 * float(values.std(ddof=1, dtype=np.float64)) / math.sqrt(len(values))


def save_scores(path: str | Path, scores: Mapping[str, EpisodeScores]) -> None:
    """Write scores by group, say ``{"Sanskrit": ..., "Tagalog": ...}``, to one npz file, all or nothing."""
    arrays: dict[str, Any] = {"groups": np.array(list(scores), dtype=np.str_)}
    for i, group in enumerate(scores.values()):
        arrays |= {f"{name}_{i}": value for name, value in vars(group).items() if value is not None}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays, _FORMAT)


def load_scores(path: str | Path) -> dict[str, EpisodeScores]:
    """Read what ``save_scores`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another format, or holds something else.
    """
    what = f"the scores of episodes `{path}`"
    arrays = read_npz(path, _FORMAT, what, _ADVICE)
    try:
        return {str(group): _group(arrays, i) for i, group in enumerate(arrays["groups"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{what} are damaged, or something else ({error}); {_ADVICE}.") from error


def _group(arrays: Mapping[str, Any], i: int) -> EpisodeScores:
    accuracies, losses = arrays[f"accuracies_{i}"], arrays[f"losses_{i}"]
    if not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise ValueError(f"accuracies between {accuracies.min()} and {accuracies.max()}")
    if accuracies.shape != losses.shape or accuracies.ndim != 1:
        raise ValueError(f"accuracies {accuracies.shape} and losses {losses.shape} do not fit")
    class_ids = arrays.get(f"class_ids_{i}")
    if class_ids is not None and (class_ids.ndim != 2 or len(class_ids) != len(losses)):
        raise ValueError(f"classes {class_ids.shape} and losses {losses.shape} do not fit")
    return EpisodeScores(
        accuracies.astype(np.float32),
        losses.astype(np.float32),
        class_ids=None if class_ids is None else class_ids.astype(np.int32),
        **{name: arrays[f"{name}_{i}"].item() for name in _NUMBERS},
    )
