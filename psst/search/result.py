"""What a search found, and the number it chose by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psst.evaluation import EpisodeScores
from psst.search.reports.front import non_dominated


@dataclass(frozen=True)
class Metric:
    """The validation metric that chooses.

    Args:
        name: As in the result files, such as `val_accuracy`.
        mode: Whether more or less of it is better.
        label: How pictures name it.
        unit: What it is shown in; `%` shows 100 times the value.
    """

    name: str
    mode: Literal["max", "min"]
    label: str
    unit: Literal["", "%"] = ""

    def quality(self, value: float) -> float:
        """The higher the better; a value that is no number is the worst of all."""
        if np.isnan(value):
            return -np.inf
        return value if self.mode == "max" else -value

    def shown(self, value: float) -> float:
        """The value in its unit."""
        return 100 * value if self.unit == "%" else value

    def text(self, value: float) -> str:
        """The value as tables print it."""
        return f"{self.shown(value):.2f}" if self.unit == "%" else f"{value:.4f}"


@dataclass(frozen=True)
class Candidate:
    """A finished model and what validation says of it.

    Args:
        name: The unit's name.
        kind: `anchor`, `subproblem`, `explored` or `baseline`.
        losses: Loss of each task, main first; from validation where it is measured there.
        metric: The validation metric that chooses.
        result: Everything else the unit reported.
        scores: The metric on each of the same episodes for every candidate, by group of classes; empty where
            validation gives one number only.
        held_out: Likewise, on episodes of the classes that confirm; they take no part in any choice.
    """

    name: str
    kind: str
    losses: dict[str, float]
    metric: float
    result: dict[str, Any]
    scores: Mapping[str, EpisodeScores] = field(default_factory=dict)
    held_out: Mapping[str, EpisodeScores] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """On which classes a search chooses.

    Args:
        kind: `confirm` if half of the validation classes chooses and the other half confirms, `best` if all
            of them choose.
        reason: Why it is `best` though `confirm` was asked for; else empty.
    """

    kind: Literal["best", "confirm"] = "best"
    reason: str = ""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        metric: What chose.
        candidates: Anchors, subproblems and accepted averages.
        baselines: `plain` and `fixed(w)`, empty without baselines.
        region: Names of the candidates in the preference region.
        chosen: Name of the candidate that does best by the metric.
        best_checkpoint: Its checkpoint, an ordinary one of Lightning.
        tests: Of the chosen model and of the baselines compared with it: in few-shot searches the scores of
            each group of classes, otherwise what the module logs in its test; empty where nothing is tested.
        units: All finished units with what they reported, also those that gave no candidate.
        max_steps: Optimizer steps of a full training, T.
        selection: How the choice was made.
    """

    metric: Metric
    candidates: list[Candidate]
    baselines: list[Candidate]
    region: list[str]
    chosen: str
    best_checkpoint: Path
    tests: dict[str, dict[str, Any]]
    units: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_steps: int = 0
    selection: Selection = field(default_factory=Selection)

    @property
    def models(self) -> list[Candidate]:
        """Candidates and baselines."""
        return self.candidates + self.baselines

    @property
    def losses_from(self) -> str:
        """Where the losses were measured: in `validation`, or at the end of `training`."""
        return str(self.candidates[0].result.get("losses_from", "validation"))

    @property
    def on_front(self) -> list[bool]:
        """For each of `models`, whether no other one is at least as good in every loss and better in one."""
        return [bool(flag) for flag in non_dominated(loss_matrix(self.models))]

    @property
    def front(self) -> list[str]:
        """Names of the models on the front."""
        return [model.name for model, kept in zip(self.models, self.on_front, strict=True) if kept]

    @property
    def best(self) -> Candidate:
        """The chosen candidate."""
        return next(candidate for candidate in self.candidates if candidate.name == self.chosen)

    @property
    def best_fixed(self) -> str | None:
        """The fixed-weight baseline that does best on validation."""
        fixed = [candidate for candidate in self.baselines if candidate.name != "plain"]
        if not fixed:
            return None
        return max(fixed, key=lambda candidate: self.metric.quality(candidate.metric)).name


def loss_matrix(models: Sequence[Candidate]) -> NDArray[np.float64]:
    """``[n, m]``, the losses of n models; ``[0, 0]`` without any."""
    rows = [list(model.losses.values()) for model in models]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))
