import time

import cvxpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from psst.pareto import Decision, min_norm, nearest
from psst.pareto.least_squares import _bounded, nonnegative
from psst.pareto.solver import _LOOSENING, RIDGE, constraints, nearest_feasible, optimality_gap
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
@pytest.mark.parametrize("condition", [None, 1e2, 5e5])
def test_nearest_agrees_with_cvxpy_in_the_direction(m, condition):
    rng = np.random.default_rng(3)
    for seed in range(5):
        gradients = gradients_of(m, 3 * m, seed, condition)
        gramian, target = gradients @ gradients.T, rng.dirichlet(np.ones(m))
        rows = np.eye(m)[-1:], np.array([0.4])
        solution = nearest(gramian, target, 0.3, rows)
        weights = cvxpy.Variable(m)
        metric = gramian / gramian.trace() + RIDGE * np.eye(m)
        limits = [cvxpy.sum(weights) == 1, weights >= 0, weights[0] >= 0.3, rows[0] @ weights >= rows[1]]
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


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
@pytest.mark.parametrize("m", [1, 2, 3, 10])
def test_gramians_that_say_nothing_are_skipped(value, m):
    gramian = np.full((m, m), value)
    target = np.arange(1.0, m + 1) / np.arange(1.0, m + 1).sum()
    assert min_norm(gramian).status == "skipped"
    np.testing.assert_allclose(min_norm(gramian).weights, 1.0 / m)
    kept = nearest(gramian, target)
    assert (kept.status, kept.kkt_gap) == ("skipped", 0.0)
    np.testing.assert_allclose(kept.weights, target)
    if m > 1:
        assert nearest(gramian, target, min_main_share=0.6).weights[0] == pytest.approx(0.6)


def test_task_without_gradient_does_not_stop_the_others():
    weights = min_norm(np.diag([4.0, 0.0, 1.0])).weights
    np.testing.assert_allclose(weights, [0.2, 0.0, 0.8])
    np.testing.assert_allclose(min_norm(np.diag([4.0, 0.0])).weights, [1.0, 0.0])
    np.testing.assert_allclose(min_norm(np.diag([0.0, 4.0])).weights, [0.0, 1.0])


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
def test_impossible_rows_are_an_error_with_the_way_out(m):
    rows = -np.eye(m)[:1], np.array([-0.1])
    with pytest.raises(ValueError, match=r"`min_main_share=0\.5` leave no weights.*loosen `rows`"):
        nearest(np.eye(m), np.full(m, 1.0 / m), 0.5, rows)


def test_gramian_must_be_square():
    with pytest.raises(ValueError, match=r"`gramian` must be \[m, m\], got \[2, 3\]"):
        min_norm(np.ones((2, 3)))


def test_gap_stays_closed_whatever_the_scales():
    rng = np.random.default_rng(0)
    for seed in range(600):
        m, spread = int(rng.integers(2, 7)), 12.0 * (seed % 2)
        gradients = gradients_of(m, int(rng.integers(1, 9)), seed) * 10.0 ** rng.uniform(
            -spread, spread, (m, 1)
        )
        gramian, target = gradients @ gradients.T, rng.dirichlet(np.ones(m))
        solution = nearest(gramian, target, 0.4)
        laws.assert_on_simplex(solution.weights)
        assert solution.kkt_gap <= laws.GAP
        assert min_norm(gramian, random_rows(m, 5, seed)).kkt_gap <= laws.GAP


def test_gradients_whose_tasks_are_all_idle_are_skipped():
    assert min_norm(np.diag([0.0, 1.0]), np.array([[1.0, 0.0]])).status == "skipped"


finite = (
    st.floats(-1e308, 1e308, allow_nan=False) | st.floats(-1e-300, 1e-300) | st.integers(-3, 3).map(float)
)
matrices = st.integers(1, 10).flatmap(lambda m: arrays(np.float64, (m, m), elements=finite))


@settings(max_examples=150, deadline=None)
@given(matrices, st.integers(0, 10**6))
def test_any_finite_matrix_is_answered(matrix, seed):
    """Neither symmetric nor semi-definite: weights are weights, and a gap that stays open has a name."""
    m, rng = len(matrix), np.random.default_rng(seed)
    target, mixture = rng.dirichlet(np.ones(m)), rng.standard_normal(m)
    normals = rng.standard_normal((5, m))
    bounds = normals @ rng.dirichlet(np.ones(m)) - 0.1
    solutions = [
        min_norm(matrix),
        nearest(matrix, target, rows=(normals, bounds)),
        nearest(matrix, np.eye(m)[0]),
        min_norm(matrix, origin=mixture),
    ]
    for solution in solutions:
        laws.assert_on_simplex(solution.weights)
        assert solution.status in {"optimal", "skipped"}
        assert 0.0 <= solution.kkt_gap <= laws.GAP


def tampered() -> dict[str, np.ndarray]:
    """Gramians of three conflicting gradients as rounding, averaging or a bug may leave them."""
    gradients = gradients_of(3, 4, 5)
    clean, rng = gradients @ gradients.T, np.random.default_rng(1)
    nearly = gradients_of(1, 50, 2) + 1e-4 * gradients_of(3, 50, 3)
    single = nearly.astype(np.float32) @ nearly.astype(np.float32).T
    noise = rng.standard_normal((3, 3))
    return {
        "float32": single.astype(np.float64),
        "bfloat16": clean * (1.0 + 4e-3 * (noise + noise.T)),
        "asymmetric": clean * (1.0 + 0.1 * noise),
        "indefinite": clean + 0.5 * clean.trace() * (noise + noise.T),
        "negative diagonal": clean - np.diag([0.0, 2.0 * clean[1, 1], 0.0]),
        "denormal": clean * 1e-323,
        "largest": clean / np.abs(clean).max() * 1.7e308,
    }


TAMPERED = tampered()


@pytest.mark.parametrize("gramian", TAMPERED.values(), ids=TAMPERED.keys())
def test_tampered_gramians_are_solved_on_their_semidefinite_part(gramian):
    rows = np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]), np.array([-0.1, -0.2])
    for target in np.random.default_rng(0).dirichlet(np.ones(3), size=5):
        for solution in (min_norm(gramian), nearest(gramian, target, 0.25, rows)):
            laws.assert_on_simplex(solution.weights)
            assert solution.status == "optimal"
            assert solution.kkt_gap <= laws.GAP


def polytope(
    m: int, n_rows: int, seed: int, slacks: tuple[float, ...] = (0.0, 0.01, 0.2)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all scales round a point of the simplex, which lies on some of them; and a target."""
    rng = np.random.default_rng(seed)
    inside, target = rng.dirichlet(np.ones(m), size=2)
    normals = rng.standard_normal((n_rows, m)) * 10.0 ** rng.uniform(-3.0, 3.0, (n_rows, 1))
    slack = np.abs(normals).max(axis=1) * rng.choice(slacks, n_rows)
    return normals, normals @ inside - slack, target


@pytest.mark.parametrize(("m", "n_rows"), [(2, 1), (2, 50), (3, 9), (5, 30), (10, 100)])
def test_users_rows_are_kept_and_the_answer_is_the_nearest(m, n_rows):
    for seed in range(6):
        normals, bounds, target = polytope(m, n_rows, seed)
        gradients = gradients_of(m, 2 * m, seed)
        gramian = gradients @ gradients.T
        solution = nearest(gramian, target, rows=(normals, bounds))
        laws.assert_on_simplex(solution.weights)
        assert solution.status == "optimal"
        assert solution.kkt_gap <= laws.GAP
        sizes = np.abs(normals).max(axis=1)
        assert ((normals @ solution.weights - bounds) / sizes >= -2.0 * laws.GAP).all()
        metric = gramian / gramian.trace() + RIDGE * np.eye(m)
        fitted = optimality_gap(
            metric, target, solution.weights, *constraints(m, 0.0, (normals / sizes[:, None], bounds / sizes))
        )
        assert fitted <= 2.0 * laws.GAP  # by multipliers of its own


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_two_rows_make_an_equality(m):
    for seed in range(6):
        normals, bounds, target = polytope(m, 1, seed, slacks=(0.0,))
        both = np.vstack([normals, -normals]), np.concatenate([bounds, -bounds])
        gradients = gradients_of(m, 2 * m, seed)
        solution = nearest(gradients @ gradients.T, target, rows=both)
        np.testing.assert_allclose(normals @ solution.weights, bounds, atol=1e-9 * np.abs(normals).max())
        assert solution.kkt_gap <= laws.GAP


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("change", ["twice", "scaled", "loose"])
def test_redundant_rows_and_their_scale_change_nothing(m, change):
    for seed in range(6):
        normals, bounds, target = polytope(m, 4, seed)
        gradients = gradients_of(m, 2 * m, seed)
        plain = nearest(gradients @ gradients.T, target, rows=(normals, bounds)).weights
        factors = {"twice": np.ones(4), "scaled": np.array([1e-200, 1e-9, 1.0, 1e200]), "loose": np.ones(4)}
        added = factors[change][:, None] * normals, factors[change] * bounds - (change == "loose") * 0.1
        more = np.vstack([normals, added[0], np.zeros((1, m))]), np.concatenate([bounds, added[1], [-1.0]])
        more = added if change == "scaled" else more
        np.testing.assert_allclose(
            nearest(gradients @ gradients.T, target, rows=more).weights, plain, atol=1e-7
        )


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("tilt", [0.0, 1e-14, 1e-12, 1e-9, 1e-6, 1e-3])
def test_nearly_parallel_rows_are_solved_or_named(m, tilt):
    rng = np.random.default_rng(m)
    for seed in range(6):
        normals, _, target = polytope(m, 1, seed)
        inside = target[::-1]
        leaning = np.vstack([normals, normals + tilt * rng.standard_normal((1, m)), -normals])
        gradients = gradients_of(m, 2 * m, seed)
        limits = leaning @ inside - 1e-12
        solution = nearest(gradients @ gradients.T, target, rows=(leaning, limits))
        laws.assert_on_simplex(solution.weights)
        sizes = np.abs(leaning).max(axis=1)
        assert (solution.status == "optimal") == (solution.kkt_gap <= laws.GAP)
        assert ((leaning @ solution.weights - limits) / sizes >= -3.0 * laws.GAP).all()


@pytest.mark.parametrize("m", [2, 3, 5])
def test_contradictory_rows_are_an_error_but_for_rounding(m):
    row = np.ones((1, m))
    row[0, 0] = -1.0
    both, target = np.vstack([row, -row]), np.full(m, 1.0 / m)
    with pytest.raises(ValueError, match="leave no weights"):
        nearest(np.eye(m), target, rows=(both, np.array([0.1, -0.1 + 1e-6])))
    with pytest.raises(ValueError, match="leave no weights"):
        nearest(np.eye(m), target, rows=(np.zeros((1, m)), np.array([1.0])))
    idle = np.vstack([both, np.zeros((1, m))])  # a row of zeros beside them says nothing
    with pytest.raises(ValueError, match="leave no weights"):
        nearest(np.eye(m), target, rows=(idle, np.array([0.1, -0.1 + 1e-6, 0.0])))
    found = nearest(np.eye(m), target, rows=(both, np.array([0.1, -0.1 + 1e-13])))
    assert row[0] @ found.weights == pytest.approx(0.1, abs=1e-9)


def test_rows_known_to_leave_weights_never_stop_a_run():
    """What is feasible for one Gramian and target is feasible for all."""
    for seed in range(200):
        m = 2 + seed % 5
        normals, bounds, target = polytope(m, 3 + seed % 20, seed)
        nearest(np.eye(m), np.full(m, 1.0 / m), rows=(normals, bounds))
        gradients = gradients_of(m, 1 + seed % 7, seed) * 10.0 ** np.linspace(-9.0, 9.0, m)[:, None]
        laws.assert_on_simplex(nearest(gradients @ gradients.T, target, rows=(normals, bounds)).weights)


def test_second_attempt_loosens_rows_that_nearly_contradict_each_other():
    """A sliver of weights 1e-12 wide, cut by a third row: no multipliers of reasonable size close the gap."""
    row = np.array([0.3, -1.0, 0.6])
    cut = row + 1e-9 * np.array([1.0, 1.0, -1.0])
    inside = np.array([0.5, 0.3, 0.2])
    normals = np.vstack([row, cut, -row])
    offsets = normals @ inside - 1e-12
    solution = nearest(np.diag([1.0, 2.0, 3.0]), np.array([0.1, 0.8, 0.1]), rows=(normals, offsets))
    assert solution.status == "optimal"
    assert _LOOSENING * 0.9 <= -(normals @ solution.weights - offsets).min() <= laws.GAP


@pytest.mark.parametrize("angle", [1e-5, 1e-7, 1e-8, 1e-10])
def test_answer_at_the_tip_of_a_wedge_is_exact_or_named(angle):
    """Two rows nearly opposite, the answer where they meet: their multipliers grow as the angle shrinks."""
    row, inside = np.array([0.3, -1.0, 0.6]), np.array([0.5, 0.3, 0.2])
    normals = np.vstack([row, angle * np.array([1.0, 1.0, -1.0]) - row])
    offsets = normals @ inside
    solution = nearest(np.diag([1.0, 2.0, 3.0]), np.array([0.1, 0.1, 0.8]), rows=(normals, offsets))
    laws.assert_on_simplex(solution.weights)
    assert solution.status == ("inexact" if solution.kkt_gap > laws.GAP else "optimal")
    assert (normals @ solution.weights - offsets).min() >= -1e-7
    if angle == 1e-5:
        np.testing.assert_allclose(solution.weights, inside, atol=1e-4)
        assert solution.status == "optimal"


def test_gap_does_not_close_at_other_weights():
    gradients = gradients_of(3, 6, 0)
    metric = gradients @ gradients.T / np.square(gradients).sum() + RIDGE * np.eye(3)
    target, limits = np.eye(3)[0], (np.eye(3), np.full(3, 0.1))
    weights = nearest_feasible(metric, target, *limits)
    assert weights is not None
    assert optimality_gap(metric, target, weights, *limits) <= laws.GAP
    assert optimality_gap(metric, target, np.array([0.5, 0.3, 0.2]), *limits) > 1e-3
    assert optimality_gap(metric, target, np.array([0.9, 0.1, 0.0]), *limits) >= 0.1  # violates a row


@pytest.mark.parametrize(("n", "r"), [(2, 3), (5, 5), (4, 40)])
def test_second_algorithm_takes_over_where_the_first_stops(n, r):
    rng = np.random.default_rng(r)
    for _ in range(10):
        matrix, target = rng.standard_normal((n, r)), rng.standard_normal(n)
        first, second = nonnegative(matrix, target), _bounded(matrix, target)
        assert (second >= 0.0).all()
        np.testing.assert_allclose(matrix @ second, matrix @ first, atol=1e-10)


def test_answers_that_are_no_minimum_are_replaced():
    """SciPy 1.17 ends at a point whose residual still falls by 1e-3 along a column (scipy/scipy#25389)."""
    steps = np.array([[9.0, 0.0, 8.0], [0.0, -4.0, -5.0], [1.0, 3.0, 4.0]])
    matrix = np.array([[1.25], [0.5], [-0.75]]) + 2.0**-47 * steps
    target = np.array([0.5, -0.5, -1.0])
    found = nonnegative(matrix, target)
    slope = (target - matrix @ found) @ matrix
    assert slope.max() <= 1e-12
    assert abs(slope @ found) <= 1e-12


def test_least_squares_without_columns_has_an_answer():
    assert nonnegative(np.zeros((3, 0)), np.ones(3)).shape == (0,)


@pytest.mark.parametrize("m", [2, 3, 10])
def test_programs_take_bounded_time(m):
    """No input makes a solver run away: the slowest of many is within a second, most within a millisecond."""
    started = time.process_time()
    rng = np.random.default_rng(m)
    for scale in (1e-300, 1e-12, 1.0, 1e12, 1e290):
        matrix = scale * rng.standard_normal((m, m))
        matrix[0, 0] = scale
        normals = rng.standard_normal((100, m))
        rows = normals, normals @ rng.dirichlet(np.ones(m)) - 1e-12
        found: list[Decision] = [
            min_norm(matrix, np.vstack([np.eye(m), normals])),
            nearest(matrix, np.eye(m)[0], rows=rows),
        ]
        assert all(np.isfinite(solution.weights).all() for solution in found)
    assert time.process_time() - started < 5.0
