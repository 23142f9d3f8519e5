"""Tangents of known fronts: exact, of either curvature, invariant, and back on the front corrected."""

import numpy as np
import pytest
import torch

from psst.pareto.coordinates import centered_log
from psst.pareto.methods import MinNorm, Preference
from psst.pareto.methods.base import StepState
from psst.pareto.ray_set import RaySet
from psst.tangents.tangent import centered_change, tangent
from tests.pareto import problems
from tests.pareto.problems import weighted_optima
from tests.tangents.smooth_problems import (
    anisotropic,
    at,
    quadratics,
    vlmop2,
    vlmop2_optimum,
    zdt2_optimum,
    zdt2_variant,
)

WEIGHTS = {2: np.array([0.3, 0.7]), 3: np.array([0.2, 0.3, 0.5])}
TOWARDS = {2: np.array([0.1, -0.1]), 3: np.array([0.1, -0.15, 0.05])}


def step(losses, point, weights, towards, **settings):
    found, hessian = at(losses, point, weights)
    return tangent(found.jacobian, hessian, found.mean_losses, towards, **{"tolerance": 1e-12, **settings})


def shift(before, after):
    return centered_log(np.log(after)) - centered_log(np.log(before))


@pytest.mark.parametrize("problem", [(vlmop2, problems.vlmop2()), (zdt2_variant, problems.zdt2_variant())])
def test_the_torch_problems_are_those_of_the_table(problem):
    losses, table = problem
    point = table.starts(0)
    values, gradients = table.base(point[None])
    found, _ = at(losses, point, np.ones(2))
    np.testing.assert_allclose(found.mean_losses, values[0], rtol=1e-12)
    np.testing.assert_allclose(found.jacobian.numpy(), gradients[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_on_quadratics_the_tangent_is_the_derivative_of_the_known_pareto_set(m, seed):
    """x(a) = (sum a_i A_i)^-1 sum a_i A_i c_i, differentiated along the returned change of the weights."""
    centers, matrices = anisotropic(m, seed=seed)
    weights, reach = WEIGHTS[m], 1e-5
    point = weighted_optima(weights[None], centers, matrices)[0]
    found = step(quadratics(centers, matrices), point, weights, TOWARDS[m])
    ends = weighted_optima(weights + reach * np.array([[1.0], [-1.0]]) * found.beta, centers, matrices)
    expected = (ends[0] - ends[1]) / (2 * reach)
    error = np.linalg.norm(found.direction.numpy() - expected) / np.linalg.norm(expected)
    assert error < 1e-6
    assert abs(found.beta.sum()) < 1e-12
    assert found.curvature > 0.0
    assert found.curved
    assert found.residual < 1e-10


@pytest.mark.parametrize("m", [2, 3])
def test_the_step_is_sized_in_losses_and_its_error_is_of_second_order(m):
    centers, matrices = anisotropic(m)
    losses, weights = quadratics(centers, matrices), WEIGHTS[m]
    point = weighted_optima(weights[None], centers, matrices)[0]
    before = losses(torch.as_tensor(point)).numpy()
    errors, off = [], []
    for part in (1.0, 0.5, 0.25, 0.125):
        found = step(losses, point, weights, part * TOWARDS[m])
        np.testing.assert_allclose(centered_change(found.change, before), part * TOWARDS[m], rtol=1e-9)
        parameter = (torch.as_tensor(point) + found.direction).requires_grad_()
        after = losses(parameter)
        errors.append(np.linalg.norm(shift(before, after.detach().numpy()) - part * TOWARDS[m]))
        mixed = torch.autograd.grad((torch.as_tensor(weights + found.beta) * after).sum(), parameter)[0]
        off.append(float(mixed.norm()))
    for sequence in (errors, off):
        rates = np.log2(np.array(sequence[:-1]) / sequence[1:])
        assert (rates > 1.7).all(), rates


@pytest.mark.parametrize(("place", "sign"), [(-0.9, 1), (-0.5, -1), (0.0, -1), (0.3, -1), (0.8, 1)])
def test_on_vlmop2_the_tangent_is_exact_for_both_signs_of_the_curvature(place, sign):
    point, weights = vlmop2_optimum(place)
    found = step(vlmop2, point, weights, TOWARDS[2])
    spread = found.direction.numpy() - found.direction.numpy().mean()
    assert np.linalg.norm(spread) < 1e-9 * found.direction.norm()
    assert found.direction[0] < 0.0  # the first loss rises towards the other's center
    assert np.sign(found.curvature) == np.sign(found.least_curvature) == sign
    assert found.curved is (sign > 0)
    moved = vlmop2(torch.as_tensor(point) + 0.01 * found.direction).numpy()
    before = vlmop2(torch.as_tensor(point)).numpy()
    np.testing.assert_allclose(shift(before, moved), 0.01 * TOWARDS[2], rtol=0.02)


@pytest.mark.parametrize("first", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0])
def test_a_hessian_that_is_singular_along_the_set_gives_the_shortest_tangent(first, angle):
    """ZDT2 variant: a cylinder of optima; only the first coordinate moves the losses along the front."""
    point, weights = zdt2_optimum(first, angle)
    found = step(zdt2_variant, point, weights, TOWARDS[2])
    assert found.direction[1:].abs().max() < 1e-8 * found.direction[0].abs()
    assert found.curvature < 0.0
    assert not found.curved
    _, hessian = at(zdt2_variant, point, weights)
    along_circle = torch.tensor([0.0, -np.sin(angle), np.cos(angle)], dtype=torch.float64)
    across = torch.tensor([0.0, np.cos(angle), np.sin(angle)], dtype=torch.float64)
    assert hessian(along_circle).norm() < 1e-12
    assert float(across @ hessian(across)) > 1.0  # of the other sign


def corrected(problem, method, point, n_steps):
    """Descent from `point` with the weights of one started method."""
    method.start(problem.n_tasks)
    for number in range(n_steps):
        losses, gradients = problem(point[None])
        state = StepState(gradients[0] @ gradients[0].T, losses[0], np.log(losses[0]), number)
        point = point - problem.step * method.decide(state).weights @ gradients[0]
    return problem(point[None])[0]


def quadratic_case(m):
    centers, matrices = anisotropic(m)
    point = weighted_optima(WEIGHTS[m][None], centers, matrices)[0]
    return quadratics(centers, matrices), problems.quadratics(centers, matrices), point, WEIGHTS[m]


CASES = {
    "quadratics, m = 2": lambda: quadratic_case(2),
    "quadratics, m = 3": lambda: quadratic_case(3),
    "VLMOP2, convex": lambda: (vlmop2, problems.vlmop2(), *vlmop2_optimum(0.8)),
    "VLMOP2, concave": lambda: (vlmop2, problems.vlmop2(), *vlmop2_optimum(0.0)),
    "ZDT2 variant": lambda: (zdt2_variant, problems.zdt2_variant(), *zdt2_optimum(0.5)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1.0, -4.0])
def test_predicted_and_corrected_points_lie_on_the_front_near_where_they_were_to_go(case, size):
    losses, problem, point, weights = CASES[case]()
    towards = size * TOWARDS[problem.n_tasks]
    found = step(losses, point, weights, towards)
    start = point + found.direction.numpy()
    before = problem(point[None])[0][0]
    wanted = np.exp(np.log(before) + towards)
    rays = RaySet.from_losses(np.stack([before, wanted, np.exp(np.log(before) + 2 * towards)]))
    prior = np.maximum(weights + found.beta, 0.02)
    rays = RaySet(rays.points, 0, np.tile(prior / prior.sum(), (3, 1)))
    for method in (Preference(rays, 1), MinNorm(rays, 1)):
        after = corrected(problem, method, start, 300)
        assert problem.front_distance(after)[0] < 1e-3
        assert rays.sector(centered_log(np.log(after[0])), 0) == 1


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_the_scale_of_a_loss_plays_no_part(m, factor):
    centers, matrices = anisotropic(m)
    scales = np.array([factor, 1.0, 1.0])[:m]
    point = weighted_optima(WEIGHTS[m][None], centers, matrices)[0]
    plain = step(quadratics(centers, matrices), point, WEIGHTS[m], TOWARDS[m], damping=0.1)
    weights = WEIGHTS[m] / scales
    scaled = step(
        quadratics(centers, matrices * scales[:, None, None]), point, weights / weights.sum(), TOWARDS[m]
    )
    exact = step(quadratics(centers, matrices), point, WEIGHTS[m], TOWARDS[m])
    torch.testing.assert_close(scaled.direction, exact.direction, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(scaled.change, scales * exact.change, rtol=1e-6)
    assert not torch.allclose(plain.direction, exact.direction, rtol=1e-3)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_the_order_of_the_tasks_plays_no_part(damping):
    centers, matrices = anisotropic(3)
    point = weighted_optima(WEIGHTS[3][None], centers, matrices)[0]
    plain = step(quadratics(centers, matrices), point, WEIGHTS[3], TOWARDS[3], damping=damping)
    order = [2, 0, 1]
    turned = step(
        quadratics(centers[order], matrices[order]),
        point,
        WEIGHTS[3][order],
        TOWARDS[3][order],
        damping=damping,
    )
    torch.testing.assert_close(turned.direction, plain.direction, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(turned.beta, plain.beta[order], rtol=1e-7)
    np.testing.assert_allclose(turned.change, plain.change[order], rtol=1e-7)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("limit", [3, 50])
def test_an_orthogonal_change_of_parameters_turns_the_tangent(m, damping, limit):
    """Cut short or damped as well: Krylov spaces turn with the parameters."""
    centers, matrices = anisotropic(m)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    point = weighted_optima(WEIGHTS[m][None], centers, matrices)[0]
    settings = {"damping": damping, "limit": limit}
    plain = step(quadratics(centers, matrices), point, WEIGHTS[m], TOWARDS[m], **settings)
    turned = step(
        quadratics(centers @ turn.T, turn @ matrices @ turn.T),
        turn @ point,
        WEIGHTS[m],
        TOWARDS[m],
        **settings,
    )
    torch.testing.assert_close(
        turned.direction, torch.as_tensor(turn) @ plain.direction, rtol=1e-7, atol=1e-10
    )


def test_damping_is_relative_and_shortens_the_way_to_the_solution():
    centers, matrices = anisotropic(2)
    point = weighted_optima(WEIGHTS[2][None], centers, matrices)[0]
    found, hessian = at(quadratics(centers, matrices), point, WEIGHTS[2])
    for scale in (1e-6, 1.0, 1e6):
        damped = tangent(
            scale * found.jacobian,
            lambda vector, scale=scale: scale * hessian(vector),
            scale * found.mean_losses,
            TOWARDS[2],
            damping=0.5,
            tolerance=1e-12,
        )
        dense = np.einsum("m,mij->ij", WEIGHTS[2], matrices)
        side = np.array([1.0, -1.0]) @ found.jacobian.numpy()
        added = 0.5 * np.linalg.norm(dense @ side) / np.linalg.norm(side)
        expected = np.linalg.solve(dense + added * np.eye(6), side)
        cosine = abs(expected @ damped.direction.numpy())
        cosine /= np.linalg.norm(expected) * float(damped.direction.norm())
        assert cosine == pytest.approx(1.0, abs=1e-10)
        assert 0.0 < damped.residual < 1.0


def test_products_are_counted():
    centers, matrices = anisotropic(3)
    point = weighted_optima(WEIGHTS[3][None], centers, matrices)[0]
    found, hessian = at(quadratics(centers, matrices), point, WEIGHTS[3])
    taken = tangent(found.jacobian, hessian, found.mean_losses, TOWARDS[3], damping=0.1, limit=4)
    assert taken.products == hessian.products == 2 + 2 * 4 + 1
    assert taken.iterations == 8


def test_gradients_that_are_all_parallel_give_no_direction():
    """One common optimum: the front is a point."""
    centers, matrices = np.zeros((2, 3)), np.stack([np.eye(3)] * 2)
    found, hessian = at(quadratics(centers, matrices), np.zeros(3), WEIGHTS[2])
    taken = tangent(found.jacobian, hessian, np.ones(2), TOWARDS[2])
    assert not taken.direction.any()
    assert np.isnan(taken.curvature)
