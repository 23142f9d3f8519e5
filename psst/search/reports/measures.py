"""The front of a search in numbers: size, hypervolume, evenness, knee."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psst.search.reports import front
from psst.search.result import Candidate, loss_matrix


@dataclass(frozen=True)
class _FrontMeasures:
    """Of the candidates of a search; distances in ranges of the anchors, see `psst.search.reports.front`."""

    size: int  # candidates that no other candidate dominates
    hypervolume: float  # of the candidates
    hypervolumes: dict[str, float]  # of the anchors and of the baselines alone
    reference_point: dict[str, float]  # loss of each task there
    spread: float | None  # unevenness along the front
    knee: str | None  # name of the candidate there


def measure(candidates: list[Candidate], baselines: list[Candidate]) -> _FrontMeasures | None:
    """Measure candidates against the anchors among them, or against all where there are none.

    Returns:
        None where no candidate has finite losses.
    """
    losses = loss_matrix(candidates)
    anchors = loss_matrix([candidate for candidate in candidates if candidate.kind == "anchor"])
    if not _measurable(losses):
        return None
    scale = front.FrontScale.of(anchors if _measurable(anchors) else losses)
    alone = {"anchors": anchors, "baselines": loss_matrix(baselines)}
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


def _measurable(losses: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(losses).all(axis=-1).any())
