"""MINRES against dense solvers and SciPy's, on matrices of any signature."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import minres as scipy_minres

from psst.tangents.minres import dot, minres, norm

SPECTRA = {
    "positive": np.geomspace(0.1, 10.0, 12),
    "negative": -np.geomspace(0.1, 10.0, 12),
    "indefinite": np.concatenate([np.geomspace(0.1, 10.0, 8), -np.geomspace(0.2, 5.0, 4)]),
    "singular": np.concatenate([np.zeros(5), np.geomspace(0.1, 10.0, 4), -np.geomspace(0.2, 5.0, 3)]),
}


def matrix_of(spectrum, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))[0]
    return basis * spectrum @ basis.T, rng.standard_normal(len(spectrum))


def solve(matrix, rhs, dtype=torch.float64, **settings):
    held = torch.as_tensor(matrix, dtype=dtype)
    return minres(lambda vector: held @ vector, torch.as_tensor(rhs, dtype=dtype), **settings)


@pytest.mark.parametrize("kind", ["positive", "negative", "indefinite"])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_regular_systems_are_solved(kind, scale):
    matrix, rhs = matrix_of(SPECTRA[kind])
    found = solve(scale * matrix, rhs, tolerance=1e-12)
    assert found.ended == "solved"
    np.testing.assert_allclose(scale * found.solution.numpy(), np.linalg.solve(matrix, rhs), rtol=1e-8)


def test_of_all_solutions_of_a_singular_system_the_shortest_is_found():
    matrix, anything = matrix_of(SPECTRA["singular"])
    rhs = matrix @ anything
    found = solve(matrix, rhs, tolerance=1e-12)
    assert found.ended == "solved"
    np.testing.assert_allclose(found.solution.numpy(), np.linalg.pinv(matrix) @ rhs, rtol=1e-7, atol=1e-9)


def test_without_a_solution_no_residual_is_shorter():
    matrix, rhs = matrix_of(SPECTRA["singular"])
    found = solve(matrix, rhs, tolerance=1e-10)
    shortest = np.linalg.norm(rhs - matrix @ np.linalg.lstsq(matrix, rhs, rcond=1e-12)[0])
    assert found.ended == "least_squares"
    assert found.residual == pytest.approx(shortest / np.linalg.norm(rhs), rel=1e-8)


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("limit", [1, 3, 6])
def test_every_iterate_is_scipys_and_so_is_the_residual(kind, damping, limit):
    matrix, rhs = matrix_of(SPECTRA[kind])
    found = solve(matrix, rhs, damping=damping, tolerance=0.0, limit=limit)
    expected = scipy_minres(matrix, rhs, shift=-damping, rtol=1e-16, maxiter=limit)[0]
    np.testing.assert_allclose(found.solution.numpy(), expected, rtol=1e-8, atol=1e-10)
    left = rhs - (matrix + damping * np.eye(len(rhs))) @ expected
    assert found.residual == pytest.approx(np.linalg.norm(left) / np.linalg.norm(rhs), rel=1e-8)
    assert found.iterations == limit


@pytest.mark.parametrize("kind", ["positive", "indefinite"])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_curvature_met_is_that_of_the_residuals(kind, damping):
    matrix, rhs = matrix_of(SPECTRA[kind])
    quotients = []
    for limit in range(6):
        iterate = solve(matrix, rhs, damping=damping, tolerance=0.0, limit=limit).solution.numpy()
        residual = rhs - (matrix + damping * np.eye(len(rhs))) @ iterate
        quotients.append(residual @ matrix @ residual / (residual @ residual))
        found = solve(matrix, rhs, damping=damping, tolerance=0.0, limit=limit + 1)
        assert found.least_curvature == pytest.approx(min(quotients), rel=1e-6)
        assert found.curved == (min(quotients) > 0.0)


def test_zero_curvature_counts_as_met():
    found = solve(np.diag([1.0, -1.0]), np.ones(2))
    assert not found.curved
    assert abs(found.least_curvature) < 1e-12


def test_one_product_an_iteration_and_never_more_than_the_limit():
    matrix, rhs = matrix_of(SPECTRA["indefinite"])
    calls = []

    def product(vector):
        calls.append(1)
        return torch.as_tensor(matrix) @ vector

    found = minres(product, torch.as_tensor(rhs), tolerance=0.0, limit=5)
    assert len(calls) == found.iterations == 5
    assert found.ended == "limit"


def test_nothing_to_solve_and_nothing_to_solve_with():
    assert solve(np.eye(3), np.zeros(3)).ended == "zero"
    flat = solve(np.zeros((3, 3)), np.ones(3))
    assert flat.ended == "least_squares"
    assert not flat.solution.any()


def test_what_is_not_finite_ends_with_what_was_found_before():
    matrix, rhs = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64)), torch.ones(5, dtype=torch.float64)
    calls = []

    def product(vector):
        calls.append(1)
        return matrix @ vector * (torch.nan if len(calls) == 3 else 1.0)

    found = minres(product, rhs, tolerance=0.0)
    assert found.ended == "not_finite"
    assert found.iterations == 2
    assert torch.equal(found.solution, minres(lambda v: matrix @ v, rhs, tolerance=0.0, limit=2).solution)
    assert solve(np.eye(2), np.array([1.0, np.nan])).ended == "not_finite"


def test_single_precision_solves_to_its_own_accuracy():
    spectrum = np.linspace(0.5, 2.0, 400)
    matrix, rhs = matrix_of(spectrum)
    found = solve(matrix, rhs, dtype=torch.float32, tolerance=1e-5)
    assert found.ended == "solved"
    assert found.solution.dtype == torch.float32
    left = rhs - matrix @ found.solution.double().numpy()
    assert np.linalg.norm(left) < 2e-5 * np.linalg.norm(rhs)


def test_products_are_summed_in_double_precision():
    """In float32 the small numbers would vanish beside the large one."""
    vector = torch.full((2**21,), 1e-4)
    vector[0] = 64.0
    exact = 64.0**2 + (2**21 - 1) * float(vector[1].double()) ** 2
    assert dot(vector, vector) == pytest.approx(exact, rel=1e-10)
    assert norm(vector) == pytest.approx(exact**0.5, rel=1e-10)
