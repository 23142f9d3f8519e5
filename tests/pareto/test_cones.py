"""Laws of the programs behind `Project`, `Priority` and `Ray`, and their references."""

import cvxpy
import numpy as np
import pytest
import torch
from torchjd.aggregation import DualProjWeighting, PCDWeighting
from torchjd.linalg import QuadprogProjector

from psst.pareto import min_norm
from psst.pareto.cones import main_first, project
from psst.pareto.hull import onto_hull
from tests import laws

every_m = pytest.mark.parametrize("m", [1, 2, 3, 5, 10])
SEEDS = range(15)


def gradients_of(m: int, seed: int, conflict: float = 1.0) -> np.ndarray:
    """Gaussian gradients in few dimensions, so that many of them conflict, of lengths 0.1 to 10."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((m, max(m - seed % 3, 1) + 1))
    if m > 1:
        gradients -= conflict * gradients.mean(axis=0) * (seed % 2)
    return gradients * 10.0 ** rng.uniform(-1.0, 1.0, (m, 1))


def mixture_of(m: int, seed: int) -> np.ndarray:
    return np.random.default_rng(100 + seed).dirichlet(np.ones(m))


def solved(objective: cvxpy.Expression, limits: list) -> None:
    problem = cvxpy.Problem(cvxpy.Minimize(objective), limits)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-14, tol_gap_rel=1e-14, tol_feas=1e-14)


@every_m
def test_projection_raises_no_loss_and_keeps_a_target_that_raises_none(m):
    for seed in SEEDS:
        gradients, target = gradients_of(m, seed), mixture_of(m, seed)
        gramian = gradients @ gradients.T
        solution = project(gramian, target)
        laws.assert_on_simplex(solution.weights)
        assert solution.status == "optimal"
        assert solution.kkt_gap <= laws.GAP
        assert (gramian @ solution.weights >= -laws.GAP * gramian.trace()).all()
        if (gramian @ target >= 0.0).all():
            np.testing.assert_array_equal(solution.weights, target)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_projection_is_the_nearest_direction_that_raises_no_loss(m):
    for seed in range(6):
        gradients, target = gradients_of(m, seed), mixture_of(m, seed)
        gradients /= np.sqrt(np.square(gradients).sum())
        weights = project(gradients @ gradients.T, target).weights
        direction = cvxpy.Variable(gradients.shape[1])
        solved(cvxpy.sum_squares(direction - target @ gradients), [gradients @ direction >= 0])
        ours = weights @ gradients
        scale = ours @ direction.value / max(ours @ ours, 1e-300)  # the weights are brought to sum 1
        np.testing.assert_allclose(scale * ours, direction.value, atol=1e-6)


@pytest.mark.parametrize("m", [2, 3])
def test_projection_agrees_with_dualproj_of_torchjd(m):
    for seed in range(6):
        gradients, target = gradients_of(m, seed), mixture_of(m, seed)
        gramian = gradients @ gradients.T
        projector = QuadprogProjector(norm_eps=1e-12, reg_eps=1e-10)
        theirs = DualProjWeighting(torch.tensor(target), projector)(torch.tensor(gramian)).numpy()
        away = (project(gramian, target).weights - theirs / theirs.sum()) @ gradients
        assert np.linalg.norm(away) <= 1e-4 * np.linalg.norm(gradients, axis=1).max()  # root of their ridge


@every_m
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 1.0])
def test_main_first_keeps_every_guarantee(m, fraction):
    kept = 0
    for seed in SEEDS:
        gradients = gradients_of(m, seed, conflict=0.0)
        gramian, lengths = gradients @ gradients.T, np.linalg.norm(gradients, axis=1)
        solution = main_first(gramian, lengths, np.full(m - 1, fraction))
        laws.assert_on_simplex(solution.weights)
        if solution.status != "optimal":
            np.testing.assert_array_equal(solution.weights, np.eye(m)[0])
            continue
        kept += 1
        units = gradients / lengths[:, None]
        direction = solution.weights @ gradients / (solution.weights[0] * lengths[0])  # main weight 1
        assert (units[1:] @ direction >= fraction - 1e-8 * np.abs(units[1:] @ units.T).sum()).all()
        assert solution.kkt_gap <= laws.GAP
    assert kept > 0


@every_m
@pytest.mark.parametrize("fraction", [0.02, 0.3])
def test_main_first_has_the_direction_of_pcd(m, fraction):
    for seed in SEEDS:
        gradients = gradients_of(m, seed, conflict=0.0)
        gramian, lengths = gradients @ gradients.T, np.linalg.norm(gradients, axis=1)
        theirs = PCDWeighting(tau=fraction, eps=0.0)(torch.tensor(gramian)).numpy()
        ours = main_first(gramian, lengths, np.full(m - 1, fraction)).weights
        np.testing.assert_allclose(ours, theirs / theirs.sum(), atol=1e-6)


def test_main_first_without_a_main_gradient_is_skipped():
    gramian = np.diag([0.0, 1.0, 2.0])
    solution = main_first(gramian, np.sqrt(np.diagonal(gramian)), np.full(2, 0.1))
    assert (solution.status, solution.weights.tolist()) == ("skipped", [1.0, 0.0, 0.0])


def test_guarantees_that_contradict_each_other_are_dropped():
    gradients = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    solution = main_first(gradients @ gradients.T, np.ones(3), np.full(2, 0.1))
    assert (solution.status, solution.weights.tolist()) == ("relaxed", [1.0, 0.0, 0.0])


def test_secondary_tasks_without_gradient_take_no_part():
    gradients = np.array([[1.0, 0.0], [0.0, 0.0], [-0.5, 1.0]])
    gramian = gradients @ gradients.T
    lengths, both = np.linalg.norm(gradients, axis=1), [0, 2]
    whole = main_first(gramian, lengths, np.full(2, 0.1)).weights
    part = main_first(gramian[np.ix_(both, both)], lengths[both], np.full(1, 0.1)).weights
    np.testing.assert_allclose(whole[both], part)
    assert whole[1] == 0.0


@every_m
def test_hull_point_of_no_mixture_is_the_shortest(m):
    for seed in SEEDS:
        gradients = gradients_of(m, seed)
        gramian = gradients @ gradients.T
        found, shortest = onto_hull(gramian, np.zeros(m)), min_norm(gramian)
        laws.assert_on_simplex(found.weights)
        np.testing.assert_allclose(
            found.weights @ gramian @ found.weights,
            shortest.weights @ gramian @ shortest.weights,
            atol=laws.GAP * gramian.trace(),
        )


@pytest.mark.parametrize("m", [2, 3, 5])
def test_hull_point_is_the_nearest_one(m):
    for seed in range(6):
        gradients = gradients_of(m, seed)
        gradients /= np.sqrt(np.square(gradients).sum())
        mixture = np.random.default_rng(seed).standard_normal(m)
        solution = onto_hull(gradients @ gradients.T, mixture)
        shares = cvxpy.Variable(m, nonneg=True)
        solved(cvxpy.sum_squares((shares - mixture) @ gradients), [cvxpy.sum(shares) == 1])
        laws.assert_same_direction(gradients, solution.weights, shares.value, 1e-5)
        assert solution.kkt_gap <= laws.GAP


def test_hull_point_gives_no_weight_to_a_task_without_gradient():
    assert onto_hull(np.diag([1.0, 0.0, 1.0]), np.array([0.3, -0.6, 0.3])).weights[1] == 0.0


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_gramians_that_say_nothing_are_skipped(value):
    gramian, target = np.full((3, 3), value), np.array([0.2, 0.3, 0.5])
    assert project(gramian, target).status == "skipped"
    np.testing.assert_array_equal(project(gramian, target).weights, target)
    assert onto_hull(gramian, np.zeros(3)).status == "skipped"
    np.testing.assert_allclose(onto_hull(gramian, np.zeros(3)).weights, 1.0 / 3.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e300])
def test_cones_do_not_depend_on_the_scale_or_order(scale):
    gradients, target = gradients_of(4, 1), mixture_of(4, 1)
    gramian, mixture = gradients @ gradients.T, np.array([0.5, -1.0, 0.2, 0.3])
    lengths, fractions = np.linalg.norm(gradients, axis=1), np.array([0.1, 0.2, 0.3])
    scaled = scale / np.abs(gramian).max() * gramian
    rescaled = lengths * np.sqrt(scale / np.abs(gramian).max())

    def of(order: np.ndarray) -> list[np.ndarray]:
        swapped = scaled[np.ix_(order, order)]
        return [
            project(swapped, target[order]).weights,
            onto_hull(swapped, mixture[order]).weights,
            main_first(swapped, rescaled[order], np.r_[0.0, fractions][order][1:]).weights,
        ]

    plain = [
        project(gramian, target).weights,
        onto_hull(gramian, mixture).weights,
        main_first(gramian, lengths, fractions).weights,
    ]
    order = np.array([0, 3, 1, 2])
    for found, expected in zip(of(order), plain, strict=True):
        np.testing.assert_allclose(found, expected[order], atol=1e-8)
