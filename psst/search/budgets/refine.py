"""More rays inside the preference region: between neighbors there, the widest gaps first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psst.pareto import Trajectory
from psst.search.settings import SearchSettings
from psst.search.tangents.proposal import Solution
from psst.search.tangents.unit import rays_through
from psst.search.units import Unit, ray_method

__all__ = ["gaps_to_refine", "refined_units"]


def gaps_to_refine(
    points: NDArray[np.float64],
    links: Sequence[tuple[int, int]],
    members: Sequence[int],
    at_most: int,
) -> list[tuple[int, int]]:
    """Pairs of candidates to lay a ray between: gaps inside the region, then those at its border.

    Args:
        points: ``[n, m]``, centered logarithms of the candidates' losses.
        links: Neighbors among them.
        members: Of the region.
        at_most: Largest number of pairs.
    """
    inside = set(members)
    touching = [link for link in links if inside & set(link)]
    width = {link: float(np.linalg.norm(points[link[0]] - points[link[1]])) for link in touching}
    order = sorted(touching, key=lambda link: (len(inside & set(link)) < 2, -width[link], link))
    return order[:at_most]


def refined_units(
    gaps: Sequence[tuple[int, int]],
    folders: Sequence[Path],
    folder: Path,
    settings: SearchSettings,
    steps: tuple[int, int],
) -> list[Unit]:
    """Lay a ray half way between the two ends of each gap, and describe the unit that is kept on it.

    Args:
        gaps: Pairs of candidates.
        folders: Of all candidates, with their trajectories.
        folder: Of the search; rays are saved in ``refined/<unit>.npz``.
        settings: Of the search.
        steps: First and last of each unit.
    """
    units = []
    place = folder / "refined"
    place.mkdir(exist_ok=True)
    for one, other in gaps:
        ends = [
            Solution(folders[i].name, {}, Trajectory.load(folders[i] / "trajectory.npz"))
            for i in (one, other)
        ]
        name = f"refined-{ends[0].name}-{ends[1].name}"
        rays_file = place / f"{name}.npz"
        rays_through(ends[0], ends[1], 0.5, steps[0]).save(rays_file)
        units.append(Unit(name, "refined", ray_method(settings, str(rays_file), 1), *steps))
    return units
