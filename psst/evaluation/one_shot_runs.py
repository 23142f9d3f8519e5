"""Accuracy in the twenty official one-shot runs of Omniglot."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from psst.episodes.one_shot_runs import OneShotRun
from psst.evaluation.comparison import t_interval
from psst.evaluation.episodes import Head
from psst.evaluation.scores import EpisodeScores
from psst.fewshot import PrototypicalHead

_Embedder = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OneShotRunScores:
    """Accuracy of each run, and its mean with Student's 95% interval over the runs.

    Attributes:
        scores: a run an episode, so that `save_scores` keeps them and `paired_difference` compares two
            models run by run. Its own ``half_width`` is the normal one; use that of this class.

    Example:
        >>> accuracies = np.array([0.5, 1.0], dtype=np.float32)
        >>> scores = EpisodeScores(accuracies, 1 - accuracies, "s", seed=0, n_way=20, n_shot=1, n_query=1)
        >>> OneShotRunScores(scores).error
        0.25
    """

    scores: EpisodeScores

    @property
    def accuracies(self) -> npt.NDArray[np.float32]:
        """``[runs]``, share of the test drawings classified right."""
        return self.scores.accuracies

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return self.scores.mean

    @property
    def error(self) -> float:
        """Mean error, 1 - accuracy, as Lake et al. report it."""
        return 1 - self.scores.mean

    @property
    def half_width(self) -> float:
        """Half of Student's 95% interval over the runs; infinite for one run."""
        return t_interval(self.accuracies.tolist())[1] if self.scores.n > 1 else math.inf

    def __str__(self) -> str:
        lines = [f"run{i:02}  error {100 * (1 - a):5.1f} %" for i, a in enumerate(self.accuracies, start=1)]
        mean = f"mean   error {100 * self.error:5.1f} +- {100 * self.half_width:.1f} %"
        return "\n".join([*lines, f"{mean} ({self.scores.n} runs, 95% t-interval over runs)"])


def evaluate_one_shot_runs(
    embed: _Embedder,
    runs: Sequence[OneShotRun],
    head: Head | None = None,
    device: torch.device | str | None = None,
) -> OneShotRunScores:
    """Classify the test drawings of every run by their features.

    Args:
        embed: maps images ``[n, C, H, W]`` uint8 to features ``[n, D]``; `FewShotModule.embed`, say. Drawings
            are embedded run by run; no drawing's features may depend on the others'.
        runs: of `psst.episodes.one_shot_runs.read_one_shot_runs`.
        head: as `evaluate_episodes` takes it; None for the nearest support drawing in Euclidean distance.
        device: where ``embed`` wants its images; None leaves them where they are.

    Raises:
        ValueError: there are no runs, or features are not ``[n, D]`` or not finite.
    """
    if not runs:
        raise ValueError("`runs` is empty; read them with `read_one_shot_runs(path)`.")
    head = PrototypicalHead() if head is None else head
    with torch.no_grad():
        scored = [_score(embed, run, head, device) for run in runs]
    accuracies, losses = (np.array(values, dtype=np.float32) for values in zip(*scored, strict=True))
    return OneShotRunScores(
        EpisodeScores(
            accuracies,
            losses,
            stream=_fingerprint(runs),
            seed=0,
            n_way=len(runs[0].answers),
            n_shot=1,
            n_query=1,
        )
    )


def _score(
    embed: _Embedder, run: OneShotRun, head: Head, device: torch.device | str | None
) -> tuple[float, float]:
    """Return accuracy and loss of one run."""
    images = run.images if device is None else run.images.to(device)
    features = embed(images)
    if features.ndim != 2 or len(features) != len(images):
        raise ValueError(
            f"`embed` returned {list(features.shape)} for {len(images)} images, it must return "
            f"[{len(images)}, D]: one row an image."
        )
    if not features.is_floating_point():
        features = features.float()
    if not bool(features.isfinite().all()):
        raise ValueError("`embed` returned a NaN or an infinity; the model has diverged.")
    way, answers = len(run.answers), run.answers.to(features.device)
    classes = torch.arange(way, device=features.device)
    logits = head(features[None, :way], classes[None], features[None, way:], way)[0].float()
    accuracy = (logits.argmax(dim=1) == answers).float().mean()
    return float(accuracy), float(F.cross_entropy(logits, answers))


def _fingerprint(runs: Sequence[OneShotRun]) -> str:
    """Return a hash of which runs these are; the same at every image size."""
    digest = hashlib.blake2b(digest_size=16)
    for run in runs:
        digest.update(repr((run.number, run.answers.tolist())).encode())
    return digest.hexdigest()
