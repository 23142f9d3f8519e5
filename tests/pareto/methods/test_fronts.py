"""Every subproblem ends in its own sector, on the front, on problems whose front is known."""

from collections.abc import Callable

import numpy as np
import pytest

from psst.pareto import FixedWeights, Method, MinNorm, Preference, Ray, RaySet
from tests import laws
from tests.pareto.descent import Conditions, Ending, descend
from tests.pareto.problems import (
    Problem,
    angles,
    disjoint,
    dtlz2,
    in_own_sector,
    isotropic,
    near_corner,
    vlmop2,
    weighted,
    zdt2_variant,
)

EXACT = Conditions()
NOISY_GRADIENTS = Conditions(gradient_noise=0.3)
"""Noise is averaged out by smaller and smaller steps, as in training."""
MEAN_LOSSES = Conditions(loss_noise=0.07, ema=0.99, longer=10.0)
"""A batch's losses are 7% off, and methods see their running mean, which lags 100 steps behind."""
NOISE = 0.07 * np.sqrt(0.01 / 1.99)
"""Of that running mean."""
CORE = [vlmop2, zdt2_variant, dtlz2]
QUADRATICS = [lambda: isotropic(2), lambda: isotropic(3), lambda: weighted(2), lambda: weighted(3)]


def run_all(
    kind: Callable[[RaySet, int], Method],
    problem: Problem,
    n_seeds: int,
    conditions: Conditions = EXACT,
    noise: float = 0.0,
    indices: list[int] | None = None,
) -> tuple[Ending, np.ndarray, np.ndarray]:
    """All rays (or those of `indices`) from all starts: where they end, in which sectors, at which angles."""
    rays = problem.rays(noise=noise, longer=conditions.longer)
    chosen = np.tile(range(len(rays)) if indices is None else indices, n_seeds)
    per_seed = len(chosen) // n_seeds
    starts = np.stack([problem.starts(seed) for seed in range(n_seeds)]).repeat(per_seed, axis=0)
    ending = descend(problem, [kind(rays, int(index)) for index in chosen], starts, conditions)
    inside = in_own_sector(rays, ending.losses, chosen)
    return ending, inside, angles(ending.losses, problem.ray_losses()[chosen])


def few_and_many(quick: list, many: list, n_few: int = 1, n_many: int = 20) -> list:
    """The quick problems with few seeds, and all with many where there is time."""
    few = [pytest.param(maker, n_few, id=f"{maker().name}-{n_few}") for maker in quick]
    slow = [
        pytest.param(maker, n_many, marks=pytest.mark.slow, id=f"{maker().name}-{n_many}") for maker in many
    ]
    return few + slow


@pytest.mark.parametrize(("maker", "n_seeds"), few_and_many([vlmop2, dtlz2], CORE))
def test_preference_holds_its_sector_under_gradient_noise(maker, n_seeds):
    problem = maker()
    ending, inside, _ = run_all(Preference, problem, n_seeds, NOISY_GRADIENTS)
    assert inside.mean() >= 0.99
    assert np.median(problem.front_distance(ending.losses)) <= 1e-3
    assert ending.gap <= laws.GAP


@pytest.mark.parametrize(("maker", "n_seeds"), few_and_many([vlmop2], CORE))
def test_a_floor_under_the_losses_leaves_every_run_in_its_sector(maker, n_seeds):
    problem = maker().with_floor(0.5)
    ending, inside, _ = run_all(Preference, problem, n_seeds)
    assert inside.all()
    assert np.median(problem.front_distance(ending.losses)) <= 1e-3


@pytest.mark.parametrize(("maker", "n_seeds"), few_and_many([vlmop2], CORE))
def test_one_loss_times_ten_leaves_every_run_in_its_sector(maker, n_seeds):
    """Priors stay equal, so that balance is up to a factor of 10 away from them."""
    problem = maker().with_scale(10.0)
    ending, inside, _ = run_all(Preference, problem, n_seeds)
    assert inside.all()
    assert np.median(problem.front_distance(ending.losses)) <= 1e-3


@pytest.mark.parametrize(("maker", "n_seeds"), few_and_many(QUADRATICS[:1], QUADRATICS, 1, 3))
@pytest.mark.parametrize("change", ["none", "floor", "x 10", "gradient noise"])
def test_quadratics_end_in_their_sectors_on_the_front(maker, n_seeds, change):
    problem, noisy = maker(), change == "gradient noise"
    changed = {"floor": lambda: problem.with_floor(0.5), "x 10": lambda: problem.with_scale(10.0)}
    problem = changed.get(change, lambda: problem)()
    ending, inside, _ = run_all(Preference, problem, n_seeds, NOISY_GRADIENTS if noisy else EXACT)
    assert inside.mean() >= (0.99 if noisy else 1.0)
    assert (
        np.median(problem.front_distance(ending.losses)) <= 3e-3
    )  # the front's grid is that coarse at m = 3


@pytest.mark.slow
@pytest.mark.parametrize("maker", [vlmop2, QUADRATICS[0], QUADRATICS[2]])
def test_lagging_running_means_of_noisy_losses_still_lead_into_the_sector(maker):
    """As long as a run needs clearly more steps than the mean lags behind to cross the front."""
    problem = maker()
    ending, inside, _ = run_all(Preference, problem, 2, MEAN_LOSSES, NOISE)
    assert inside.all()
    assert np.median(problem.front_distance(ending.losses)) <= 3e-3


@pytest.mark.parametrize(("maker", "n_seeds"), few_and_many([vlmop2], CORE))
def test_ray_ends_within_a_degree_of_its_ray(maker, n_seeds):
    """Rays near a corner of DTLZ2's front hold losses of 0.055; steps of 0.2 are too long to settle there."""
    problem = maker()
    corners = maker is dtlz2
    indices = [0, 4, 7, 14] if corners else None  # the corners and the middle
    conditions = Conditions(longer=4.0) if corners else EXACT
    ending, inside, angle = run_all(Ray, problem, n_seeds, conditions, indices=indices)
    assert inside.all()
    assert angle.max() <= 1.0
    assert np.median(problem.front_distance(ending.losses)) <= 1e-3


@pytest.mark.parametrize("n_seeds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_min_norm_ends_in_its_sector_on_the_concave_front(n_seeds):
    problem = vlmop2()
    ending, inside, _ = run_all(MinNorm, problem, n_seeds)
    assert inside.all()
    assert problem.front_distance(ending.losses).max() <= 1e-3
    assert ending.gap <= laws.GAP


@pytest.mark.parametrize("maker", [QUADRATICS[1], pytest.param(dtlz2, marks=pytest.mark.slow)])
def test_min_norm_reaches_the_sectors_of_three_tasks(maker):
    problem = maker()
    ending, inside, _ = run_all(MinNorm, problem, 1)
    assert inside.all()
    assert np.median(problem.front_distance(ending.losses)) <= 3e-3


def test_fixed_weights_collapse_to_the_ends_of_the_concave_front():
    problem = vlmop2()
    methods = [FixedWeights(weight) for weight in (0.3, 0.6, 0.9, 1.1, 1.6, 3.0)]
    starts = problem.starts(0)[None].repeat(len(methods), axis=0)
    ending = descend(problem, methods, starts, Conditions(longer=5.0, fading=False))
    assert (ending.losses.min(axis=1) < 0.05).all()


def test_disjoint_tasks_all_end_at_their_floors_whatever_the_ray():
    """A front of one point: rays elsewhere are out of reach, are reported so, and cost nothing."""
    problem = disjoint(3)
    points = np.array([[0.0, 0.0, 0.0], [1.0, -0.5, -0.5], [-0.6, 1.2, -0.6]])
    methods = [Preference(RaySet.constant(points), index) for index in range(3)]
    ending = descend(problem, methods, problem.starts(0)[None].repeat(3, axis=0), Conditions(longer=3.0))
    np.testing.assert_allclose(ending.losses, 0.5, rtol=1e-2)
    np.testing.assert_array_equal(ending.unreachable, [False, True, True])
    unit = RaySet.constant(points).distance(1, 0)
    assert ending.nearest[1] <= 1.0 / unit + 1e-3  # the corner itself is that far away


def test_rays_beyond_a_nearly_corner_front_are_reported_and_still_end_on_it():
    problem = near_corner()
    ends = np.log(problem.ray_losses(2)) @ np.array([0.5, -0.5])
    spread = ends[1] - ends[0]
    places = ends[0] + spread * np.array([-0.6, -0.3, 0.3, 0.5, 0.7, 1.3, 1.6])
    rays = RaySet.constant(np.stack([places, -places], axis=1))
    ending = descend(
        problem,
        [Preference(rays, index) for index in range(len(rays))],
        problem.starts(0)[None].repeat(len(rays), axis=0),
    )
    beyond = np.array([True, True, False, False, False, True, True])
    np.testing.assert_array_equal(ending.unreachable, beyond)
    np.testing.assert_array_equal(in_own_sector(rays, ending.losses, np.arange(len(rays)))[~beyond], True)
    assert problem.front_distance(ending.losses).max() <= 1e-2
    gap = np.array([0.6, 0.3, 0.0, 0.0, 0.0, 0.3, 0.6]) * spread
    units = np.array([rays.distance(index, 0) for index in range(len(rays))])
    # Centers of the wells lie a little beyond the ends of `front`, which is cut off there.
    assert (ending.nearest[beyond] >= 0.8 * (gap / units)[beyond]).all()
