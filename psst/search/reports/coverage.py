"""Which sectors between the rays hold a trained candidate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psst.pareto import RaySet, Trajectory

__all__ = ["Coverage", "coverage", "read_coverage"]


@dataclass(frozen=True)
class Coverage:
    """The rays and who ended in their sectors.

    Attributes:
        held: For each ray, the names of the candidates in its sector.
    """

    held: tuple[tuple[str, ...], ...]

    @property
    def share(self) -> float:
        """Of the rays whose sector holds a candidate."""
        return sum(bool(names) for names in self.held) / len(self.held)

    def described(self) -> dict[str, Any]:
        """Plain values."""
        return {"rays": len(self.held), "share": self.share, "held": [list(names) for names in self.held]}


def coverage(rays: RaySet, names: Sequence[str], points: NDArray[np.float64], step: int) -> Coverage:
    """Assign points ``[n, m]``, centered logarithms of losses, to the sectors of the rays in `step`."""
    held: list[list[str]] = [[] for _ in range(len(rays))]
    for name, point in zip(names, points, strict=True):
        held[rays.sector(point, step)].append(name)
    return Coverage(tuple(tuple(names) for names in held))


def read_coverage(rays_file: Path, folders: Sequence[Path]) -> Coverage | None:
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
