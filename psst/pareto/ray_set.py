"""Rays of loss space that move as the losses fall, and the sectors between them."""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from psst.files import read_npz, write_npz
from psst.pareto.coordinates import centered_log
from psst.pareto.least_squares import Array

_VERSION = 1
_FIELDS = ("points", "first_step", "priors", "noise")


@dataclass(frozen=True, eq=False, repr=False)
class RaySet:
    """K rays, each a trajectory in centered log coordinates; sector k is the Voronoi cell of ray k.

    Attributes:
        points: ``[K, steps, m]``; row s belongs to step ``first_step + s``, the ends are held beyond.
        first_step: Step of the first row.
        priors: ``[K, m]`` weights at which each ray is expected to be in balance, each of sum 1.
        noise: Standard deviation of a measured coordinate, a scalar or ``[m]``.

    Raises:
        ValueError: If the shapes do not fit together, or a prior is negative.
    """

    RESOLUTION: ClassVar = 4.0  # standard deviations of the noise below which two points count as one
    points: Array
    first_step: int
    priors: Array
    noise: float | Array = 0.0

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64)
        priors = np.array(self.priors, dtype=np.float64)
        if points.ndim != 3 or 0 in points.shape or priors.shape != (points.shape[0], points.shape[2]):
            raise ValueError(
                f"`points` must be [K, steps, m] and `priors` [K, m], got {list(points.shape)} and "
                f"{list(priors.shape)}; give each ray a prior."
            )
        if not np.isfinite(points).all() or not (priors >= 0.0).all() or not (priors.sum(axis=1) > 0.0).all():
            raise ValueError(
                "`points` must be finite and each row of `priors` not negative with a positive sum."
            )
        object.__setattr__(self, "points", centered_log(points))
        object.__setattr__(self, "priors", priors / priors.sum(axis=1, keepdims=True))

    @classmethod
    def constant(cls, points: Array, priors: Array | None = None, noise: float | Array = 0.0) -> "RaySet":
        """Rays that stand still at ``[K, m]`` points of log coordinates.

        The priors are equal by default, in units of each loss's geometric mean over the rays: a factor of one
        loss changes no step.
        """
        points = np.asarray(points, dtype=np.float64)
        if priors is None:
            sizes = centered_log(points).mean(axis=0)
            priors = np.exp(sizes.min() - sizes)[None].repeat(len(points), axis=0)
        return cls(points[:, None, :], 0, priors, noise)

    @classmethod
    def from_losses(
        cls, losses: ArrayLike, priors: Array | None = None, noise: float | Array = 0.0
    ) -> "RaySet":
        """Rays that stand still through the positive loss vectors ``[K, m]``, whatever their length.

        Those of `das_dennis` are evenly spread; times the losses that count as equal, where these are known.

        Raises:
            ValueError: If a loss is not finite and positive.
        """
        losses = np.asarray(losses, dtype=np.float64)
        for ray, task in np.argwhere(~(np.isfinite(losses) & (losses > 0.0))):
            raise ValueError(
                f"`losses[{ray}, {task}]` must be finite and positive, because Pareto rays are ratios of "
                f"losses, got {losses[ray, task]}; keep off the border, or add a constant to that loss."
            )
        return cls.constant(np.log(losses), priors, noise)

    def lasting(self, n_steps: int) -> "RaySet":
        """The same rays, held to a length of `n_steps`, a tenth of which is the methods' patience.

        Rays that stand still tell nothing of the run's length: without this, patience is short.

        Raises:
            ValueError: If `n_steps` is below the steps over which the rays move.
        """
        if n_steps < self.n_steps:
            raise ValueError(
                f"`n_steps={n_steps}` must be {self.n_steps} at least, for so long do the rays move."
            )
        return replace(self, points=self.points[:, np.minimum(np.arange(n_steps), self.n_steps - 1)])

    def __repr__(self) -> str:
        """Enough to tell two sets apart."""
        found = zlib.crc32(self.points.tobytes(), zlib.crc32(self.priors.tobytes()))
        return f"RaySet({list(self.points.shape)}, first_step={self.first_step}, crc={found:08x})"

    def __len__(self) -> int:
        return len(self.points)

    @property
    def n_tasks(self) -> int:
        """Number m of objectives."""
        return int(self.points.shape[2])

    @property
    def n_steps(self) -> int:
        """Steps over which the rays move."""
        return int(self.points.shape[1])

    @cached_property
    def sd(self) -> float:
        """The noise of the noisiest coordinate."""
        return float(np.max(self.noise))

    def at(self, step: int) -> Array:
        """``[K, m]`` points of all rays in `step`."""
        row = min(max(step - self.first_step, 0), self.n_steps - 1)
        return self.points[:, row]

    def distance(self, index: int, step: int) -> float:
        """Unit of errors round a ray: the distance to its nearest neighbor, at least 4 sd of the noise.

        Distances are largest differences of a coordinate, so that half a unit of error is the sector's border
        for m = 2. A ray alone and without noise has the unit 1.
        """
        points = self.at(step)
        others = np.abs(points - points[index]).max(axis=1)
        others[index] = np.inf
        nearest = float(others.min())
        unit = max(nearest if np.isfinite(nearest) else 0.0, self.RESOLUTION * self.sd)
        return unit if unit > 0.0 else 1.0

    def sector(self, centered: Array, step: int) -> int:
        """Index of the ray nearest to ``[m]`` (Euclidean), the first of equals."""
        return int(np.square(self.at(step) - centered).sum(axis=1).argmin())

    def save(self, path: str | Path) -> None:
        """Write an npz file, atomically."""
        write_npz(path, {name: getattr(self, name) for name in _FIELDS}, _VERSION)

    @classmethod
    def load(cls, path: str | Path) -> "RaySet":
        """Read what `save` wrote; ValueError or FileNotFoundError where it cannot."""
        arrays = read_npz(path, _VERSION, f"`rays={path}`", "give the .npz of a search", _FIELDS)
        return cls(**{**arrays, "first_step": int(arrays["first_step"])})


def das_dennis(n_tasks: int, divisions: int, inset: float = 0.1) -> Array:
    """Simplex lattice: every way to split ``divisions`` equal parts among the tasks, moved inwards.

    Args:
        n_tasks: Number m of objectives, 1 at least.
        divisions: Parts p, 1 at least.
        inset: Share of the way from each point to the center, in [0, 1]; 0 leaves points on the border, where
            a coordinate is 0.

    Returns:
        ``[K, m]``, none negative, each row of sum 1, ``K = binom(p + m - 1, m - 1)``, in lexicographic order.

    Raises:
        ValueError: If an argument is outside its range.

    Source:
        Das and Dennis, SIAM J. Optimization 8, 1998, section 3. Departure: moved inwards.
    """
    for name, value in (("n_tasks", n_tasks), ("divisions", divisions)):
        if value < 1:
            raise ValueError(f"`{name}={value}` must be positive; 4 divisions of 3 tasks give 15 rays.")
    if not 0.0 <= inset <= 1.0:
        raise ValueError(f"`inset={inset}` must be in [0, 1]; 0.1 keeps off the border.")
    places = divisions + n_tasks - 1
    bars = np.array(list(combinations(range(places), n_tasks - 1)), dtype=np.float64)
    left = np.full((len(bars), 1), -1.0)
    points = np.diff(np.hstack([left, bars, left + 1.0 + places]), axis=1) - 1.0
    return (1.0 - inset) * points / divisions + inset / n_tasks
