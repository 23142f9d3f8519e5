"""The front of a search in numbers: size, hypervolume, distances, evenness, knee, and sectors held."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.pareto import RaySet, Trajectory
from psst.search.reports import front
from psst.search.result import Candidate, SearchResult


@dataclass(frozen=True)
class _FrontMeasures:
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


def measure(result: SearchResult) -> _FrontMeasures | None:
    """Measure the front of a search; None where no candidate has finite losses."""
    return measured(result.candidates, result.baselines)


def measured(candidates: list[Candidate], baselines: list[Candidate]) -> _FrontMeasures | None:
    """Measure some candidates against the anchors among them, or against all where there are no anchors."""
    losses = _losses_of(candidates)
    anchors = _losses_of([candidate for candidate in candidates if candidate.kind == "anchor"])
    if not np.isfinite(anchors).all(axis=-1).any():
        anchors = losses
    if not np.isfinite(losses).all(axis=-1).any():
        return None
    scale = front.FrontScale.of(anchors)
    others = {"anchors": anchors, "baselines": _losses_of(baselines)}
    others = {name: rows for name, rows in others.items() if np.isfinite(rows).all(axis=-1).any()}
    kept = front.non_dominated(losses)
    tasks = list(candidates[0].losses)
    best = front.knee(losses)
    extent = losses[kept].max(axis=0) / np.maximum(losses[kept].min(axis=0), np.finfo(np.float32).tiny)
    return _FrontMeasures(
        size=int(kept.sum()),
        hypervolume=front.hypervolume(losses, scale),
        hypervolumes={name: front.hypervolume(rows, scale) for name, rows in others.items()},
        reference=dict(zip(tasks, scale.reference.tolist(), strict=True)),
        epsilon={name: front.epsilon(losses, rows, scale) for name, rows in others.items()},
        spread=front.spread(losses, losses, scale),
        extent=dict(zip(tasks, extent.tolist(), strict=True)),
        knee=None if best is None else candidates[best].name,
    )


def coverage(rays: RaySet, names: Sequence[str], points: NDArray[np.float64], step: int) -> dict[str, Any]:
    """Assign points ``[n, m]``, centered logarithms of losses, to the sectors of the rays in `step`.

    Returns:
        Number of rays, the share of those whose sector holds a candidate, and who is in each.
    """
    held: list[list[str]] = [[] for _ in range(len(rays))]
    for name, point in zip(names, points, strict=True):
        held[rays.sector(point, step)].append(name)
    return {"rays": len(held), "share": sum(map(bool, held)) / len(held), "held": held}


def read_coverage(rays_file: Path, folders: Sequence[Path]) -> dict[str, Any] | None:
    """Assign units to sectors by the running means of their training losses at their last step.

    Rays are made of such means, all on the same batches; losses of validation are on another scale. Averages
    were never trained and hold no sector.

    Args:
        rays_file: What the search saved.
        folders: Of the units; the name of a folder is that of its unit.

    Returns:
        None without rays or without a trained unit.
    """
    trained = [folder for folder in folders if (folder / "trajectory.npz").is_file()]
    if not rays_file.is_file() or not trained:
        return None
    rays = RaySet.load(rays_file)
    trajectories = [Trajectory.load(folder / "trajectory.npz") for folder in trained]
    points = np.stack([trajectory.centered[-1] for trajectory in trajectories])
    last = max(trajectory.first_step + len(trajectory.log_losses) - 1 for trajectory in trajectories)
    return coverage(rays, [folder.name for folder in trained], points, last)


def _losses_of(models: list[Candidate]) -> front.Losses:
    """``[n, m]``; ``[0, 0]`` without models."""
    return front.matrix([model.losses for model in models]) if models else np.zeros((0, 0))
