"""The front of a search in numbers: size, hypervolume, evenness, knee."""

from dataclasses import dataclass

import numpy as np

from psst.search.reports import front
from psst.search.result import Candidate, SearchResult


@dataclass(frozen=True)
class _FrontMeasures:
    """Of the candidates of a search; distances in ranges of the anchors, see `psst.search.reports.front`.

    Attributes:
        size: Candidates that no other candidate dominates.
        hypervolume: Of the candidates.
        hypervolumes: Of the anchors and of the baselines alone.
        reference_point: Loss of each task there.
        spread: Unevenness along the front.
        knee: Name of the candidate there.
    """

    size: int
    hypervolume: float
    hypervolumes: dict[str, float]
    reference_point: dict[str, float]
    spread: float | None
    knee: str | None


def measure(result: SearchResult) -> _FrontMeasures | None:
    """Measure the front of a search; None where no candidate has finite losses."""
    return measured(result.candidates, result.baselines)


def measured(candidates: list[Candidate], baselines: list[Candidate]) -> _FrontMeasures | None:
    """Measure some candidates against the anchors among them, or against all where there are no anchors."""
    losses = _losses_of(candidates)
    anchors = _losses_of([candidate for candidate in candidates if candidate.kind == "anchor"])
    if not _measurable(losses):
        return None
    scale = front.FrontScale.of(anchors if _measurable(anchors) else losses)
    alone = {"anchors": anchors, "baselines": _losses_of(baselines)}
    best = front.knee(losses)
    return _FrontMeasures(
        size=int(front.non_dominated(losses).sum()),
        hypervolume=front.hypervolume(losses, scale),
        hypervolumes={
            name: front.hypervolume(rows, scale) for name, rows in alone.items() if _measurable(rows)
        },
        reference_point=dict(zip(candidates[0].losses, scale.reference.tolist(), strict=True)),
        spread=front.spread(losses, losses, scale),
        knee=None if best is None else candidates[best].name,
    )


def _losses_of(models: list[Candidate]) -> front.Losses:
    """``[n, m]``; ``[0, 0]`` without models."""
    return front.matrix([model.losses for model in models]) if models else np.zeros((0, 0))


def _measurable(losses: front.Losses) -> bool:
    return bool(np.isfinite(losses).all(axis=-1).any())
