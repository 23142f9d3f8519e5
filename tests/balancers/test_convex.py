"""Convex: as Preference where the constraints are linear, certified where they are not."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from psst.balancers import Convex
from psst.pareto import Preference, RaySet, StepState
from psst.pareto.solver import RIDGE
from tests import laws
from tests.balancers import user_constraints

HERE = "tests.balancers.user_constraints"
BALL = 0.05


def rays() -> RaySet:
    rng = np.random.default_rng(0)
    return RaySet.from_losses(rng.uniform(0.5, 2.0, (4, 3)), rng.dirichlet(np.ones(3), size=4))


def states(n: int) -> list[StepState]:
    rng, found = np.random.default_rng(1), []
    for step in range(n):
        jacobian = rng.standard_normal((3, 10))
        losses = np.exp(0.5 * rng.standard_normal(3))
        found.append(StepState(jacobian @ jacobian.T, losses, np.log(losses), step))
    return found


def convex(function: str, **settings: object) -> Convex:
    method = Convex(rays(), 1, f"{HERE}.{function}", **settings)
    method.start(3)
    return method


@pytest.mark.parametrize(("function", "rows"), [("linear", user_constraints.ROWS), ("nothing", None)])
def test_linear_constraints_give_what_preference_gives(function, rows):
    method, reference = (
        convex(function, min_main_share=0.1),
        Preference(rays(), 1, 0.1, rows),
    )
    reference.start(3)
    for state in states(20):
        ours, expected = method.decide(state), reference.decide(state)
        assert ours.status == expected.status
        laws.assert_on_simplex(ours.weights)
        np.testing.assert_allclose(ours.weights, expected.weights, atol=1e-6)  # the interior point's accuracy
        assert 0.0 <= ours.kkt_gap <= laws.GAP
        assert ours.certificates["solve_ms"] > 0.0
        shared = expected.certificates.keys()
        assert all(np.array_equal(ours.certificates[key], expected.certificates[key]) for key in shared)


def test_curved_constraints_hold_and_nothing_allowed_is_nearer():
    method, active = convex("ball"), 0
    for state in states(15):
        decision = method.decide(state)
        weights, target = decision.weights, decision.certificates["target"]
        metric = state.gramian / state.gramian.trace() + RIDGE * np.eye(3)

        def distance(a, metric=metric, target=target):
            return float((a - target) @ metric @ (a - target))

        spread = np.square(weights - 1 / 3).sum()
        assert spread <= BALL + 1e-8
        assert decision.kkt_gap <= laws.GAP
        active += spread > BALL - 1e-6
        found = minimize(
            distance,
            np.full(3, 1 / 3),
            method="SLSQP",
            bounds=[(0, 1)] * 3,
            constraints=[
                {"type": "eq", "fun": lambda a: a.sum() - 1},
                {"type": "ineq", "fun": lambda a: BALL - np.square(a - 1 / 3).sum()},
            ],
            options={"ftol": 1e-14},
        )
        assert distance(weights) <= found.fun + 1e-7  # SLSQP itself may be the worse one
    assert active > 5


def test_entropy_keeps_every_task_alive():
    for state in states(5):
        weights = convex("entropy").decide(state).weights
        assert -(weights * np.log(weights)).sum() >= 0.9 - 1e-7


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_gramian_that_says_nothing_still_gives_allowed_weights(value):
    state = states(1)[0]
    decision = convex("linear").decide(StepState(np.full((3, 3), value), state.losses, state.log_losses, 0))
    assert decision.status == "skipped"
    laws.assert_on_simplex(decision.weights)
    assert decision.weights[1] >= 0.3 - 1e-8


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_common_scale_of_the_gradients_changes_nothing(scale):
    for state in states(4):
        scaled = StepState(scale * state.gramian, state.losses, state.log_losses, state.step)
        # The solver stops at a gap of 1e-12: 1e-6 in the norm of G, and more along its flat directions.
        np.testing.assert_allclose(
            convex("ball").decide(scaled).weights, convex("ball").decide(state).weights, atol=1e-4
        )


def test_resumed_run_decides_as_the_whole_one():
    steps, whole, first, second = states(10), convex("linear"), convex("linear"), convex("linear")
    expected = [whole.decide(state).weights.tolist() for state in steps]
    found = [first.decide(state).weights.tolist() for state in steps[:4]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.decide(state).weights.tolist() for state in steps[4:]]
    np.testing.assert_allclose(found, expected, atol=1e-9)  # the solver starts from where it was


@pytest.mark.parametrize(
    ("function", "part"),
    [
        ("impossible", "leave no weights of 3 tasks"),
        ("not_convex", "must be convex"),
        ("of_four", "fails for 3 weights"),
        ("no_constraints", "must return cvxpy constraints, found str"),
    ],
)
def test_constraints_that_cannot_work_are_refused_at_the_start(function, part):
    method = Convex(rays(), 1, f"{HERE}.{function}")
    with pytest.raises(ValueError, match=rf"`constraints={HERE}\.{function}`.*{part}|{part}"):
        method.start(3)


@pytest.mark.parametrize("path", ["nowhere.at_all", f"{HERE}.absent", "name", f"{HERE}.NO_FUNCTION"])
def test_a_path_to_no_function_is_refused_at_once(path):
    with pytest.raises(ValueError, match=f"`constraints={path}`"):
        Convex(rays(), 1, path)


def test_main_share_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match=r"`min_main_share=1\.5`"):
        Convex(rays(), 1, f"{HERE}.linear", 1.5)
