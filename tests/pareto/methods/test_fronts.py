"""Every subproblem ends in its own sector, on the front, on problems whose front is known."""

import numpy as np
import pytest

from psst.pareto import FixedWeights, Method, MinNorm, Preference, RaySet
from tests import laws
from tests.pareto import vlmop2

N_RAYS = 10
STEPS = np.full(400, 0.3)
FADING = 0.5 * STEPS * (1.0 + np.cos(np.linspace(0.0, np.pi, len(STEPS))))
"""Noise of the gradients is averaged out by smaller and smaller steps."""


def runs_of(kind: type[Method], n_seeds: int) -> tuple[RaySet, list[int], list[Method], np.ndarray]:
    rays = vlmop2.rays_on_front(N_RAYS)
    indices = list(range(N_RAYS)) * n_seeds
    methods = [kind(rays, index) for index in indices]
    for method in methods:
        method.start(2)
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (n_seeds, vlmop2.N_PARAMS))
    return rays, indices, methods, starts.repeat(N_RAYS, axis=0)


@pytest.mark.parametrize(
    ("kind", "n_seeds"),
    [
        (Preference, 5),
        (MinNorm, 2),
        pytest.param(Preference, 20, marks=pytest.mark.slow),
        pytest.param(MinNorm, 20, marks=pytest.mark.slow),
    ],
)
def test_every_subproblem_of_vlmop2_ends_in_its_sector_on_the_front(kind, n_seeds):
    rays, indices, methods, starts = runs_of(kind, n_seeds)
    losses, gap = vlmop2.descend(methods, starts, STEPS)
    assert vlmop2.in_own_sector(rays, losses, indices).all()
    assert vlmop2.front_distance(losses).max() <= 1e-3
    assert gap <= laws.GAP


@pytest.mark.parametrize(
    ("kind", "n_seeds"),
    [
        (Preference, 5),
        pytest.param(Preference, 20, marks=pytest.mark.slow),
        pytest.param(MinNorm, 20, marks=pytest.mark.slow),
    ],
)
def test_subproblems_of_vlmop2_hold_their_sectors_under_gradient_noise(kind, n_seeds):
    rays, indices, methods, starts = runs_of(kind, n_seeds)
    losses, _ = vlmop2.descend(methods, starts, FADING, noise=0.3)
    good = vlmop2.in_own_sector(rays, losses, indices) & (vlmop2.front_distance(losses) <= 3e-3)
    assert good.mean() >= 0.99


def test_fixed_weights_collapse_to_the_ends_of_the_concave_front():
    methods = [FixedWeights(weight) for weight in (0.3, 0.6, 0.9, 1.1, 1.6, 3.0)]
    for method in methods:
        method.start(2)
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (1, vlmop2.N_PARAMS)).repeat(len(methods), axis=0)
    losses, _ = vlmop2.descend(methods, starts, np.full(1500, 0.3))
    assert (losses.min(axis=1) < 0.05).all()


def three_task_problem(concave: bool):
    """Three wells at the corners of a triangle in 6 dimensions: quadratic, or Gaussian and concave."""
    centers = 0.8 * np.eye(3, 6)

    def problem(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = points[:, None] - centers
        squares = np.square(away).sum(axis=2)
        if not concave:
            return 0.05 + 0.5 * squares, away
        bell = np.exp(-squares)
        return 1.02 - bell, 2.0 * bell[:, :, None] * away

    return centers, problem


@pytest.mark.parametrize("concave", [False, True])
@pytest.mark.parametrize("kind", [Preference, MinNorm])
def test_three_tasks_reach_their_sectors_inside_the_pareto_set(kind, concave):
    centers, problem = three_task_problem(concave)
    lattice = np.array([[a, b, 5 - a - b] for a in range(1, 4) for b in range(1, 5 - a)]) / 5.0
    rays = RaySet.from_losses(problem(lattice @ centers)[0])
    methods = [kind(rays, index) for index in range(len(lattice))]
    for method in methods:
        method.start(3)
    starts = np.random.default_rng(3).uniform(-0.5, 0.5, (len(lattice), 6))
    kept: list[np.ndarray] = []

    def watched(points):
        kept[:] = [points.copy()]
        return problem(points)

    losses, gap = vlmop2.descend(methods, starts, FADING, problem=watched)
    assert vlmop2.in_own_sector(rays, losses, range(len(lattice))).all()
    assert gap <= laws.GAP
    np.testing.assert_allclose(kept[0].sum(axis=1), 0.8, atol=1e-3)  # on the plane of the wells,
    np.testing.assert_allclose(kept[0][:, 3:], 0.0, atol=1e-3)  # which holds the Pareto set,
    assert (kept[0][:, :3] > -1e-3).all()  # inside their triangle
