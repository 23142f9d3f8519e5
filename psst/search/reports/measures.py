"""The front of a search in numbers: size, hypervolume, distance to other fronts, evenness, knee."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from psst.search.reports import front
from psst.search.result import Candidate, SearchResult

__all__ = ["FrontMeasures", "measure"]


@dataclass(frozen=True)
class FrontMeasures:
    """Of the candidates of a search; distances in ranges of the anchors, see `psst.search.reports.front`.

    Attributes:
        size: Candidates that no other candidate dominates.
        hypervolume: Of the candidates.
        hypervolumes: Of the anchors and of the baselines alone.
        reference: Loss of each task at the reference point.
        epsilon: How far the candidates have to be shifted to cover the anchors, and the baselines.
        spread: Unevenness along the front.
        extent: For each task, the worst loss on the front by the best.
        knee: Name of the candidate there.
    """

    size: int
    hypervolume: float
    hypervolumes: dict[str, float]
    reference: dict[str, float]
    epsilon: dict[str, float]
    spread: float | None
    extent: dict[str, float]
    knee: str | None

    def described(self) -> dict[str, Any]:
        """Plain values, with what they mean."""
        return {
            "size": self.size,
            "hypervolume": self.hypervolume,
            **{f"hypervolume_of_{name}": value for name, value in self.hypervolumes.items()},
            "reference_point": self.reference,
            **{f"epsilon_to_{name}": value for name, value in self.epsilon.items()},
            "spread": self.spread,
            "extent": self.extent,
            "knee": self.knee,
            "scale": f"ranges of the anchors' losses; the reference point lies {front.MARGIN} above the best",
        }


def measure(result: SearchResult) -> FrontMeasures | None:
    """Measure the front of a search; None where no candidate has finite losses."""
    return measured(result.candidates, result.baselines)


def measured(candidates: list[Candidate], baselines: list[Candidate]) -> FrontMeasures | None:
    """Measure some candidates against the anchors among them, or against all where there are no anchors."""
    losses = losses_of(candidates)
    anchors = losses_of([candidate for candidate in candidates if candidate.kind == "anchor"])
    if not np.isfinite(anchors).all(axis=-1).any():
        anchors = losses
    if not np.isfinite(losses).all(axis=-1).any():
        return None
    scale = front.FrontScale.of(anchors)
    others = {"anchors": anchors, "baselines": losses_of(baselines)}
    others = {name: rows for name, rows in others.items() if np.isfinite(rows).all(axis=-1).any()}
    kept = front.non_dominated(losses)
    tasks = list(candidates[0].losses)
    best = front.knee(losses)
    extent = losses[kept].max(axis=0) / np.maximum(losses[kept].min(axis=0), np.finfo(np.float32).tiny)
    return FrontMeasures(
        size=int(kept.sum()),
        hypervolume=front.hypervolume(losses, scale),
        hypervolumes={name: front.hypervolume(rows, scale) for name, rows in others.items()},
        reference=dict(zip(tasks, scale.reference.tolist(), strict=True)),
        epsilon={name: front.epsilon(losses, rows, scale) for name, rows in others.items()},
        spread=front.spread(losses, losses, scale),
        extent=dict(zip(tasks, extent.tolist(), strict=True)),
        knee=None if best is None else candidates[best].name,
    )


def losses_of(models: list[Candidate]) -> front.Losses:
    """``[n, m]``; ``[0, 0]`` without models."""
    return front.matrix([model.losses for model in models]) if models else np.zeros((0, 0))
