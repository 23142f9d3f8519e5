"""Scores of single episodes: what every later comparison is made from."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from psst.files import atomic_path

_FORMAT = 1
_NUMBERS = ("seed", "n_way", "n_shot", "n_query", "stream")


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
        class_ids: ``[n, N]`` classes of each episode; None in files written before they were kept.

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

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.losses.mean(dtype=np.float64))

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
    path = Path(path)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "format": np.array(_FORMAT),
        "groups": np.array(list(scores), dtype=np.str_),
    }
    for i, group in enumerate(scores.values()):
        arrays |= {f"accuracies_{i}": group.accuracies, f"losses_{i}": group.losses}
        arrays |= {f"{name}_{i}": np.array(getattr(group, name)) for name in _NUMBERS}
        if group.class_ids is not None:  # readers of before pass over it
            arrays[f"class_ids_{i}"] = group.class_ids
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_scores(path: str | Path) -> dict[str, EpisodeScores]:
    """Read what ``save_scores`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of a newer format, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}` is not there; `psst test` and `psst search` write test_scores.npz files."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        version = int(arrays["format"])
        if version <= _FORMAT:
            return {str(group): _group(arrays, i) for i, group in enumerate(arrays["groups"])}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`{path}` cannot be read as scores of episodes ({error}); give a file that `psst test` wrote."
        ) from error
    raise ValueError(
        f"`{path}` has format {version}, this psst reads up to format {_FORMAT}; upgrade psst-fewshot."
    )


def _group(arrays: Mapping[str, npt.NDArray[np.generic]], i: int) -> EpisodeScores:
    accuracies, losses = arrays[f"accuracies_{i}"], arrays[f"losses_{i}"]
    if accuracies.shape != losses.shape or accuracies.ndim != 1:
        raise ValueError(f"accuracies {accuracies.shape} and losses {losses.shape} do not fit")
    class_ids = arrays.get(f"class_ids_{i}")
    if class_ids is not None and (class_ids.ndim != 2 or len(class_ids) != len(losses)):
        raise ValueError(f"classes {class_ids.shape} and losses {losses.shape} do not fit")
    seed, n_way, n_shot, n_query, stream = (arrays[f"{name}_{i}"].item() for name in _NUMBERS)
    return EpisodeScores(
        accuracies.astype(np.float32),
        losses.astype(np.float32),
        stream=str(stream),
        seed=int(seed),
        n_way=int(n_way),
        n_shot=int(n_shot),
        n_query=int(n_query),
        class_ids=None if class_ids is None else class_ids.astype(np.int32),
    )
