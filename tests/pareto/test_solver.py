import cvxpy
import numpy as np
import pytest

from psst.pareto import min_norm, nearest
from psst.pareto.projection import constraints
from psst.pareto.solver import RIDGE
from tests import laws

SIZES = [(1, 3), (2, 5), (3, 8), (5, 20)]


def gradients_of(m: int, n: int, seed: int, condition: float | None = None) -> np.ndarray:
    """Gaussian gradients ``[m, n]``, or some whose Gramian has a given condition."""
    gradients = np.random.default_rng(seed).standard_normal((m, n))
    if condition is None:
        return gradients
    left, _, right = np.linalg.svd(gradients, full_matrices=False)
    return left * np.geomspace(1.0, condition**-0.5, m) @ right


def random_rows(m: int, r: int, seed: int) -> np.ndarray:
    """The tasks themselves and differences of unit rays, as Pareto MTL stacks them."""
    rays = np.abs(np.random.default_rng(seed).standard_normal((r + 1, m)))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.vstack([np.eye(m), rays[1:] - rays[0]])


def hard_gramians() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    spread = rng.standard_normal((3, 6)) * np.array([[1e-12], [1.0], [1e12]])
    flat = rng.standard_normal((3, 1)) @ rng.standard_normal((1, 6))
    twins = rng.standard_normal((2, 6))[[0, 0, 1]]
    nearly = rng.standard_normal((1, 6)) + 1e-7 * rng.standard_normal((3, 6))
    opposed = np.vstack([twins[0], -2.0 * twins[0], twins[2]])
    idle = np.vstack([twins[0], np.zeros(6), twins[2]])
    named = {
        "spread": spread,
        "rank 1": flat,
        "twins": twins,
        "nearly equal": nearly,
        "opposed": opposed,
        "idle": idle,
    }
    gramians = {name: gradients @ gradients.T for name, gradients in named.items()}
    gramians |= {f"scale {scale:g}": scale * gramians["twins"] for scale in (1e-300, 1e-12, 1e12, 1e300)}
    return gramians


HARD = hard_gramians()


@pytest.mark.parametrize(("m", "n"), SIZES)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_min_norm_descends_on_every_task(m, n, scale):
    for seed in range(20):
        gradients = scale * gradients_of(m, n, seed)
        gramian = gradients @ gradients.T
        solution = min_norm(gramian)
        laws.assert_on_simplex(solution.weights)
        laws.assert_descends(gramian, solution.weights)
        assert solution.kkt_gap <= laws.GAP


@pytest.mark.parametrize(("m", "r"), [(2, 2), (3, 6), (4, 5)])
@pytest.mark.parametrize("condition", [None, 1e2, 5e5])
def test_min_norm_over_rows_agrees_with_cvxpy_in_the_direction(m, r, condition):
    for seed in range(5):
        gradients, rows = gradients_of(m, 3 * m, seed, condition), random_rows(m, r, seed)
        shares = cvxpy.Variable(len(rows), nonneg=True)
        objective = cvxpy.sum_squares((rows @ gradients).T @ shares)
        cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(shares) == 1]).solve(
            solver="CLARABEL", tol_gap_abs=1e-14, tol_gap_rel=1e-14, tol_feas=1e-14
        )
        weights = min_norm(gradients @ gradients.T, rows).weights
        laws.assert_same_direction(gradients, weights, rows.T @ shares.value, 1e-6)


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("condition", [None, 1e2, 5e5])
def test_nearest_agrees_with_cvxpy_in_the_direction(m, guarded, condition):
    rng = np.random.default_rng(3)
    for seed in range(5):
        gradients = gradients_of(m, 3 * m, seed, condition)
        gramian, target = gradients @ gradients.T, rng.dirichlet(np.ones(m))
        rows = np.eye(m)[-1:], np.array([0.4])
        solution = nearest(gramian, target, 0.3, rows, gramian if guarded else None)
        weights = cvxpy.Variable(m)
        metric = gramian / gramian.trace() + RIDGE * np.eye(m)
        limits = [cvxpy.sum(weights) == 1, weights >= 0, weights[0] >= 0.3, rows[0] @ weights >= rows[1]]
        if guarded and solution.status == "optimal":
            limits.append(gramian / gramian.trace() @ weights >= 0)
        root = np.linalg.cholesky(metric)
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(root.T @ (weights - target))), limits)
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-14, tol_gap_rel=1e-14, tol_feas=1e-14)
        laws.assert_same_direction(gradients, solution.weights, weights.value, 1e-6)
        assert solution.kkt_gap <= laws.GAP


@pytest.mark.parametrize("gramian", HARD.values(), ids=HARD.keys())
@pytest.mark.parametrize("with_rows", [False, True])
def test_min_norm_of_hard_gramians_agrees_with_enumeration(gramian, with_rows):
    rows = random_rows(3, 5, 0) if with_rows else np.eye(3)
    solution = min_norm(gramian, rows)
    scaled = gramian / gramian.trace()
    rows = rows[(rows[:, scaled.diagonal() > 0] != 0).any(axis=1)]
    found = solution.weights @ scaled @ solution.weights
    assert solution.status == "optimal"
    assert solution.kkt_gap <= laws.GAP
    assert abs(found - laws.brute_force_min_norm(scaled, rows)) <= laws.GAP
    laws.assert_descends(scaled, solution.weights, rows)


@pytest.mark.parametrize("gramian", HARD.values(), ids=HARD.keys())
def test_nearest_on_hard_gramians_agrees_with_enumeration(gramian):
    rng = np.random.default_rng(0)
    metric = gramian / gramian.trace() + RIDGE * np.eye(3)
    rows = np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]), np.array([-0.1, -0.2])
    for target in rng.dirichlet(np.ones(3), size=10):
        solution = nearest(gramian, target, 0.25, rows)
        laws.assert_on_simplex(solution.weights)
        assert solution.kkt_gap <= laws.GAP
        reference = laws.brute_force_nearest(metric, target, *constraints(3, 0.25, rows))
        away, best = solution.weights - target, reference - target
        assert abs(away @ metric @ away - best @ metric @ best) <= laws.GAP


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("m", [2, 3])
def test_gramians_that_say_nothing_are_skipped(value, m):
    gramian = np.full((m, m), value)
    target = np.arange(1.0, m + 1) / np.arange(1.0, m + 1).sum()
    assert min_norm(gramian).status == "skipped"
    np.testing.assert_allclose(min_norm(gramian).weights, 1.0 / m)
    kept = nearest(gramian, target)
    assert (kept.status, kept.kkt_gap) == ("skipped", 0.0)
    np.testing.assert_allclose(kept.weights, target)
    assert nearest(gramian, target, min_main_share=0.6).weights[0] == pytest.approx(0.6)


def test_task_without_gradient_does_not_stop_the_others():
    weights = min_norm(np.diag([4.0, 0.0, 1.0])).weights
    np.testing.assert_allclose(weights, [0.2, 0.0, 0.8])


@pytest.mark.parametrize("m", [2, 3, 5])
def test_disjoint_tasks_share_by_inverse_squared_norms(m):
    squares = np.random.default_rng(m).uniform(0.1, 10.0, m)
    np.testing.assert_allclose(min_norm(np.diag(squares)).weights, (1 / squares) / (1 / squares).sum())


def test_closed_form_of_two_tasks_is_the_general_one():
    for seed in range(50):
        gradients = gradients_of(2, 3, seed) * np.array([[1.0], [10.0 ** (seed % 7 - 3)]])
        gramian = gradients @ gradients.T
        general = min_norm(gramian, np.vstack([np.eye(2), np.eye(2)])).weights
        laws.assert_same_direction(
            gradients / np.sqrt(gramian.trace()), min_norm(gramian).weights, general, 1e-7
        )


@pytest.mark.parametrize("m", [2, 3, 4])
def test_solvers_do_not_depend_on_scale_order_or_basis(m):
    rng = np.random.default_rng(m)
    gradients, target = gradients_of(m, 6, m), rng.dirichlet(np.ones(m))
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    rotated = gradients @ basis
    bound = np.full(m, 0.15)

    def shortest(order):
        return min_norm((gradients @ gradients.T)[np.ix_(order, order)]).weights

    def closest(order):
        gramian = (gradients @ gradients.T)[np.ix_(order, order)]
        return nearest(gramian, target[order], rows=(np.eye(m), bound)).weights

    order = rng.permutation(m)
    laws.assert_permutation_equivariant(shortest, order)
    laws.assert_permutation_equivariant(closest, order)
    plain = min_norm(gradients @ gradients.T).weights
    np.testing.assert_allclose(min_norm(1e-9 * gradients @ gradients.T).weights, plain, atol=1e-10)
    np.testing.assert_allclose(min_norm(rotated @ rotated.T).weights, plain, atol=1e-10)


@pytest.mark.parametrize("m", [2, 3])
def test_conflict_rows_keep_every_loss_from_rising(m):
    held = 0
    for seed in range(40):
        gradients = gradients_of(m, 3, seed)
        gramian = gradients @ gradients.T
        solution = nearest(gramian, np.eye(m)[0], conflict=gramian)
        laws.assert_on_simplex(solution.weights)
        if solution.status == "optimal":
            held += 1
            assert (gramian @ solution.weights >= -1e-9 * gramian.trace()).all()
    assert held > 20  # with sum 1 and no sign lost, a common descent exists but for opposed gradients


def test_infeasible_conflict_rows_are_dropped_and_flagged():
    gramian = np.array([[1.0, -1.0], [-1.0, 1.0]])
    solution = nearest(gramian, np.array([1.0, 0.0]), min_main_share=0.9, conflict=gramian)
    assert solution.status == "relaxed"
    np.testing.assert_allclose(solution.weights, [1.0, 0.0])


@pytest.mark.parametrize("m", [2, 3])
def test_impossible_rows_are_an_error_with_the_way_out(m):
    rows = -np.eye(m)[:1], np.array([-0.1])
    with pytest.raises(ValueError, match=r"`min_main_share=0\.5` leave no weights.*loosen `rows`"):
        nearest(np.eye(m), np.full(m, 1.0 / m), 0.5, rows)


def test_gramian_must_be_square():
    with pytest.raises(ValueError, match=r"`gramian` must be \[m, m\], got \[2, 3\]"):
        min_norm(np.ones((2, 3)))


def test_gap_stays_closed_whatever_the_scales_and_guards():
    rng = np.random.default_rng(0)
    for seed in range(600):
        m, spread = int(rng.integers(2, 7)), 12.0 * (seed % 2)
        gradients = gradients_of(m, int(rng.integers(1, 9)), seed) * 10.0 ** rng.uniform(
            -spread, spread, (m, 1)
        )
        gramian, target = gradients @ gradients.T, rng.dirichlet(np.ones(m))
        solution = nearest(gramian, target, 0.4, conflict=gramian if seed % 3 else None)
        laws.assert_on_simplex(solution.weights)
        assert solution.kkt_gap <= laws.GAP
        assert min_norm(gramian, random_rows(m, 5, seed)).kkt_gap <= laws.GAP
