"""Problems whose Pareto fronts are known: losses and gradients of many runs side by side."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from psst.pareto.coordinates import centered_log
from psst.pareto.ray_set import RaySet, das_dennis

Array = np.ndarray
Evaluate = Callable[[Array], tuple[Array, Array]]
"""``[runs, n]`` points to ``[runs, m]`` losses and ``[runs, m, n]`` gradients."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Losses ``scale f(x) + floor`` with a known front.

    Attributes:
        name: For tables.
        base: Evaluates f.
        low, high: ``[n]`` box in which runs start, uniformly.
        front: ``[points, m]`` f on the Pareto front, ordered along it for m = 2.
        step: Step size at which plain descent is stable and quick.
        n_steps: After which it has converged.
        distance: ``[runs, m]`` f to its distance to the front; to the points of `front` by default.
        places: ``[K, m]`` f through which rays go; equal distances in log-ratio along `front` by default.
        margin: Share of `front` that rays leave out at either end, for m = 2.
        scale: ``[m]`` or a number.
        floor: ``[m]`` or a number.
    """

    name: str
    base: Evaluate
    low: Array
    high: Array
    front: Array
    step: float
    n_steps: int
    distance: Callable[[Array], Array] | None = None
    places: Array | None = None
    margin: float = 0.025
    scale: Array = field(default_factory=lambda: np.ones(1))
    floor: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def n_tasks(self) -> int:
        return self.front.shape[1]

    def __call__(self, points: Array) -> tuple[Array, Array]:
        losses, gradients = self.base(points)
        return self.scale * losses + self.floor, self.scale.reshape(-1, 1) * gradients

    def starts(self, seed: int) -> Array:
        """``[n]`` start of one seed."""
        return np.random.default_rng(seed).uniform(self.low, self.high)

    def with_floor(self, floor: float) -> "Problem":
        """All losses raised by a constant, as by label noise."""
        return replace(self, floor=self.scale * 0.0 + floor)

    def with_scale(self, factor: float, task: int = 0) -> "Problem":
        """One loss times a factor above 1: it is steeper by that, so steps are shorter, and more of them."""
        scale = np.ones(self.n_tasks)
        scale[task] = factor
        return replace(
            self, scale=scale, step=2.0 * self.step / factor, n_steps=int(self.n_steps * factor / 4)
        )

    def ray_losses(self, n_rays: int = 10) -> Array:
        """``[K, m]`` losses on the front through which the rays go."""
        if self.places is not None:
            return self.scale * self.places + self.floor
        left_out = int(self.margin * len(self.front))
        losses = self.scale * self.front[left_out : len(self.front) - left_out] + self.floor
        ratios = np.log(losses[:, 0] / losses[:, 1])
        wanted = np.linspace(ratios.min(), ratios.max(), n_rays)
        return losses[np.abs(ratios[:, None] - wanted).argmin(axis=0)]

    def rays(self, n_rays: int = 10, noise: float = 0.0, longer: float = 1.0) -> RaySet:
        """Rays that stand still, with equal priors, for a run `longer` times as long as `n_steps`."""
        return RaySet.from_losses(self.ray_losses(n_rays), noise=noise).lasting(int(self.n_steps * longer))

    def front_distance(self, losses: Array) -> Array:
        """``[runs]`` distance to the front in units of f, whatever `scale` and `floor`."""
        plain = (losses - self.floor) / self.scale
        if self.distance is not None:
            return self.distance(plain)
        found: Array = cKDTree(self.front).query(plain)[0]
        return found


def in_own_sector(rays: RaySet, losses: Array, indices: Array, step: int = 0) -> Array:
    """``[runs]`` whether the losses lie in the Voronoi cell of the run's ray."""
    cells = [rays.sector(centered_log(np.log(point)), step) for point in losses]
    return np.array(cells) == np.asarray(indices)


def angles(losses: Array, targets: Array) -> Array:
    """``[runs]`` degrees between loss vectors and those of their rays."""
    lengths = np.linalg.norm(losses, axis=1) * np.linalg.norm(targets, axis=1)
    return np.degrees(np.arccos(np.clip((losses * targets).sum(axis=1) / lengths, -1.0, 1.0)))


def quadratics(centers: Array, matrices: Array | None = None, name: str = "quadratics") -> Problem:
    """``(x - c_i)^T A_i (x - c_i) / 2``; isotropic by default, whose Pareto set is the centers' hull.

    Args:
        centers: ``[m, n]``, m = 2 or 3.
        matrices: ``[m, n, n]``, positive definite.
        name: Of the problem.
    """
    m, n = centers.shape
    matrices = np.broadcast_to(np.eye(n), (m, n, n)) if matrices is None else matrices

    def evaluate(points: Array) -> tuple[Array, Array]:
        away = points[:, None] - centers
        gradients = np.einsum("mij,rmj->rmi", matrices, away)
        return 0.5 * (away * gradients).sum(axis=2), gradients

    if m == 2:
        share = 1.0 / (1.0 + np.exp(np.linspace(-10.0, 10.0, 40001)))
        weights = np.stack([share, 1.0 - share], axis=1)
        places = None
    else:
        weights = das_dennis(3, 300, 0.06)
        places = evaluate(weighted_optima(das_dennis(3, 4, 0.15), centers, matrices))[0]
    front = evaluate(weighted_optima(weights, centers, matrices))[0]
    step = 0.5 / np.linalg.eigvalsh(matrices).max()
    return Problem(name, evaluate, np.full(n, -1.0), np.ones(n), front, step, 400, places=places, margin=0.3)


def weighted_optima(weights: Array, centers: Array, matrices: Array) -> Array:
    """``[k, n]`` minimizers ``(sum a_i A_i)^{-1} sum a_i A_i c_i`` of weighted quadratics."""
    pulls = np.einsum("mij,mj->mi", matrices, centers)
    hessians = np.einsum("km,mij->kij", weights, matrices)
    return np.linalg.solve(hessians, (weights @ pulls)[..., None])[..., 0]


def isotropic(m: int) -> Problem:
    """Wells of one shape at corners of a regular simplex, in 6 dimensions."""
    return quadratics(np.sqrt(0.5) * np.eye(m, 6), name=f"isotropic quadratics, m = {m}")


def weighted(m: int) -> Problem:
    """Wells of different shapes, condition number 20."""
    rng = np.random.default_rng(7)
    bases = np.linalg.qr(rng.standard_normal((m, 6, 6)))[0]
    curvatures = np.geomspace(0.05, 1.0, 6)
    matrices = np.einsum("mij,j,mkj->mik", bases, curvatures, bases)
    problem = quadratics(np.eye(m, 6), matrices, f"weighted quadratics, m = {m}")
    return replace(problem, n_steps=800)


def vlmop2(n: int = 20) -> Problem:
    """``1 - exp(-||x -+ 1/sqrt(n)||^2)``: a concave front (Van Veldhuizen and Lamont, 1999)."""
    center = np.full(n, 1.0 / np.sqrt(n))

    def evaluate(points: Array) -> tuple[Array, Array]:
        away = np.stack([points - center, points + center], axis=1)
        bell = np.exp(-np.square(away).sum(axis=2))
        return 1.0 - bell, 2.0 * bell[:, :, None] * away

    places = np.linspace(-1.0, 1.0, 20001)
    front = 1.0 - np.exp(-np.square(np.stack([1.0 - places, 1.0 + places], axis=1)))
    return Problem("VLMOP2", evaluate, np.full(n, -0.5), np.full(n, 0.5), front, 0.3, 400)


def zdt2_variant() -> Problem:
    """ZDT2 (Zitzler, Deb and Thiele, 2000) with a front inside its domain and a singular Hessian along it.

    ``y_1 = (1 + sin(x_1 + s)) / 2``, ``y_2 = y_3 = (1 + cos s) / 2``, ``s = x_2^2 + x_3^2`` (Ma et al.,
    Continuous Pareto Exploration, 2020). The Pareto set is a cylinder over the circle s = pi.
    """

    def evaluate(points: Array) -> tuple[Array, Array]:
        s = np.square(points[:, 1:]).sum(axis=1)
        phase = points[:, 0] + s
        first, away = 0.5 + 0.5 * np.sin(phase), 1.0 + 4.5 * (1.0 + np.cos(s))
        ds = np.concatenate([np.zeros((len(points), 1)), 2.0 * points[:, 1:]], axis=1)
        d_first = 0.5 * np.cos(phase)[:, None] * (ds + np.eye(1, 3))
        d_away = -4.5 * np.sin(s)[:, None] * ds
        ratio = (first / away)[:, None]
        d_second = (1.0 + ratio**2) * d_away - 2.0 * ratio * d_first
        second = away * (1.0 - np.square(first / away))
        return np.stack([first, second], axis=1), np.stack([d_first, d_second], axis=1)

    first = np.linspace(0.0, 1.0, 20001)
    front = np.stack([first, 1.0 - first**2], axis=1)
    low, high = np.array([-4.0, 0.8, 0.8]), np.array([-2.3, 1.6, 1.6])
    return Problem("ZDT2 variant", evaluate, low, high, front, 0.02, 1000)


def dtlz2(angles: bool = False) -> Problem:
    """DTLZ2 (Deb et al., 2002), m = 3: ``(1 + sum_j z_j^2)`` times a point on the unit sphere's octant.

    Args:
        angles: Whether the point has DTLZ2's own two angles as coordinates, kept in range by a sine. At their
            edges, and at the pole for one of them, gradients along them vanish: runs that come close crawl.
            Otherwise the point is ``|y| / ||y||``, y in three dimensions, where no point is singled out.
    """
    on_sphere = _by_angles if angles else _by_direction
    n_position = 2 if angles else 3

    def evaluate(points: Array) -> tuple[Array, Array]:
        position, offset = points[:, :n_position], points[:, n_position:]
        unit, d_unit = on_sphere(position)
        radius = 1.0 + np.square(offset).sum(axis=1)
        d_offset = 2.0 * unit[:, :, None] * offset[:, None, :]
        return radius[:, None] * unit, np.concatenate([radius[:, None, None] * d_unit, d_offset], axis=2)

    high = np.concatenate([np.ones(n_position), np.full(5, 0.5)])
    low = np.concatenate([np.full(n_position, -1.0 if angles else 0.1), np.full(5, -0.5)])
    places = das_dennis(3, 4, 0.15)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    front = das_dennis(3, 60)
    front /= np.linalg.norm(front, axis=1, keepdims=True)

    def distance(losses: Array) -> Array:
        return np.abs(np.linalg.norm(losses, axis=1) - 1.0)

    name, step = ("DTLZ2, angles", 0.4) if angles else ("DTLZ2", 0.2)
    return Problem(name, evaluate, low, high, front, step, 1000, distance, places)


def _by_angles(position: Array) -> tuple[Array, Array]:
    angle = 0.25 * np.pi * (1.0 + np.sin(position))
    d_angle = 0.25 * np.pi * np.cos(position)
    (c1, c2), (s1, s2) = np.cos(angle).T, np.sin(angle).T
    unit = np.stack([c1 * c2, c1 * s2, s1], axis=1)
    d_first = np.stack([-s1 * c2, -s1 * s2, c1], axis=1) * d_angle[:, :1]
    d_second = np.stack([-c1 * s2, c1 * c2, 0.0 * s1], axis=1) * d_angle[:, 1:]
    return unit, np.stack([d_first, d_second], axis=2)


def _by_direction(position: Array) -> tuple[Array, Array]:
    length = np.linalg.norm(position, axis=1)
    unit = np.abs(position) / length[:, None]
    slopes = np.eye(3) - unit[:, :, None] * unit[:, None, :]
    return unit, slopes * np.sign(position)[:, None, :] / length[:, None, None]


def near_corner(n: int = 6, power: float = 3.0) -> Problem:
    """``|x - c_i|^(2 power)`` with centers at distance 1, over a floor of 0.5: nearly a corner.

    Half way between the centers both losses have fallen to ``4^-power`` of what they are at the other's
    center, so that the front hugs the two axes, and all weights within a factor of 10 end close together.
    """
    centers = np.eye(2, n) * np.sqrt(0.5)

    def evaluate(points: Array) -> tuple[Array, Array]:
        away = points[:, None] - centers
        squares = np.square(away).sum(axis=2)
        return squares**power, 2.0 * power * (squares ** (power - 1.0))[:, :, None] * away

    places = np.linspace(0.0, 1.0, 20001)
    front = np.stack([places, 1.0 - places], axis=1) ** (2.0 * power)
    problem = Problem(
        "near corner", evaluate, np.full(n, -0.3), np.full(n, 0.6), front, 0.1, 1500, margin=0.05
    )
    return problem.with_floor(0.5)


def disjoint(m: int = 3) -> Problem:
    """Each task has its own coordinate: the front is the one point where all are at their floor of 0.5."""
    problem = quadratics(np.eye(m), np.stack([np.diag(row) for row in np.eye(m)]) + 1e-9 * np.eye(m))
    return replace(problem, name="disjoint", front=np.zeros((1, m)), floor=np.full(m, 0.5))
