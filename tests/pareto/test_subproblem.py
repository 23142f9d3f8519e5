import json

import numpy as np
import pytest

from psst.pareto.subproblem import ReachWatch, Subproblem, _tilt, _tilted_weights
from tests import laws


def test_lagging_tasks_gain_weight_and_leading_ones_lose_it():
    prior = np.array([0.6, 0.3, 0.1])
    weights = _tilted_weights(prior, _tilt(np.array([1.0, 0.0, -1.0]), 0.25))
    assert weights[0] > prior[0]
    assert weights[2] < prior[2]
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose(np.log(weights[0] / weights[1] / 2.0), 4.0 * 0.75)


def test_tilt_is_odd_monotone_clipped_and_zero_inside_the_dead_zone():
    errors = np.linspace(-5.0, 5.0, 201)
    tilts = _tilt(errors, 0.25)
    np.testing.assert_allclose(tilts, -_tilt(-errors, 0.25))
    assert (np.diff(tilts) >= 0).all()
    assert (tilts[np.abs(errors) <= 0.25] == 0).all()
    assert tilts.max() == 4.0 * 1.75


def test_dead_zone_grows_with_the_noise():
    def tilted(error, sd):
        _, seen = Subproblem(np.array([0.5, 0.5]), 0).aim(np.array([error, -error]), sd, in_sector=True)
        return bool(seen["tilt"].any())

    assert (tilted(0.25, 0.0), tilted(0.26, 0.0)) == (False, True)
    assert (tilted(0.5, 0.25), tilted(0.51, 0.25)) == (False, True)


def test_zero_prior_stays_zero_under_any_tilt():
    np.testing.assert_array_equal(_tilted_weights(np.array([1.0, 0.0]), np.array([-7.0, 7.0])), [1.0, 0.0])


def test_targets_are_weights_whatever_the_error():
    subproblem = Subproblem(np.array([0.6, 0.3, 0.1]), 0)
    for error in np.random.default_rng(0).standard_normal((300, 3)) * 5.0:
        laws.assert_on_simplex(subproblem.aim(error, 0.0, in_sector=True)[0])


@pytest.mark.parametrize(("run_steps", "patience"), [(0, 200), (1000, 200), (5000, 500)])
def test_ray_is_given_up_after_200_steps_or_a_tenth_of_the_run(run_steps, patience):
    watch = ReachWatch(run_steps)
    given_up = [watch.update(1.5, reached=False) for _ in range(patience + 2)]
    assert given_up.index(True) == patience - 1
    assert watch.nearest == 1.5


def test_ray_that_comes_nearer_or_is_reached_is_not_given_up():
    nearing, reached = ReachWatch(0), ReachWatch(0)
    for step in range(1000):
        assert not nearing.update(3.0 * 0.999**step, reached=False)
        assert not reached.update(0.4, reached=True)


def test_given_up_subproblem_goes_on_at_its_prior():
    prior = np.array([0.7, 0.3])
    subproblem = Subproblem(prior, 0)
    aims = [subproblem.aim(np.array([1.5, -1.5]), 0.0, in_sector=False) for _ in range(300)]
    assert aims[100][0][0] > 0.99
    target, seen = aims[-1]
    np.testing.assert_allclose(target, prior)
    assert seen["unreachable"] == 1.0
    assert seen["nearest_distance"] == 1.5


def test_a_resumed_subproblem_aims_as_the_whole_one():
    errors = [0.6, 0.0, -0.4, -0.5, 0.7, 0.1, 0.9]
    whole, first, resumed = (Subproblem(np.array([0.5, 0.5]), 0) for _ in range(3))
    for error in errors[:3]:
        whole.aim(np.array([error, -error]), 0.0, in_sector=True)
        first.aim(np.array([error, -error]), 0.0, in_sector=True)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for error in errors[3:]:
        expected, _ = whole.aim(np.array([error, -error]), 0.0, in_sector=True)
        found, _ = resumed.aim(np.array([error, -error]), 0.0, in_sector=True)
        np.testing.assert_array_equal(found, expected)
    assert resumed.state_dict() == whole.state_dict()


def test_prior_drifts_where_the_tilt_alone_leaves_an_error():
    """Proportional and integral: a constant small error raises the lagging weight step by step."""
    subproblem = Subproblem(np.array([0.5, 0.5]), 0)
    shares = [subproblem.aim(np.array([0.5, -0.5]), 0.0, in_sector=True)[0][0] for _ in range(150)]
    assert (np.diff(shares) > 0.0).all()
    odds = [np.log(share / (1.0 - share)) for share in (shares[0], shares[100])]
    np.testing.assert_allclose(odds[1] - odds[0], 2.0, rtol=1e-6)  # each logarithm by 1 in half the patience


@pytest.mark.parametrize("error", [0.2, 1.5])
def test_prior_stands_still_in_the_dead_zone_and_far_from_the_ray(error):
    subproblem = Subproblem(np.array([0.5, 0.5]), 0)
    for _ in range(100):
        _, seen = subproblem.aim(np.array([error, -error]), 0.0, in_sector=True)
    np.testing.assert_array_equal(seen["drift"], [0.0, 0.0])


def test_drift_survives_a_resume_and_ends_where_the_ray_is_given_up():
    error, prior = np.array([0.6, -0.6]), np.array([0.7, 0.3])
    subproblem, resumed = Subproblem(prior, 0), Subproblem(prior, 0)
    for _ in range(50):
        subproblem.aim(error, 0.0, in_sector=False)
    resumed.load_state_dict(json.loads(json.dumps(subproblem.state_dict())))
    first, second = (kind.aim(error, 0.0, in_sector=False)[0] for kind in (subproblem, resumed))
    np.testing.assert_array_equal(first, second)
    for _ in range(200):
        target, _ = resumed.aim(error, 0.0, in_sector=False)
    np.testing.assert_allclose(target, prior)


def test_detours_and_swings_about_the_sector_do_not_end_the_pull():
    detour, swinging = ReachWatch(0), ReachWatch(0)
    for step in range(1500):
        far = 1.0 + 2.0 * min(step / 50.0, 1.0) - 0.001 * max(step - 50, 0)  # away at first, then slowly back
        assert not detour.update(far, reached=False)
        swing = np.sin(step / 60.0)
        assert not swinging.update(abs(swing), reached=abs(swing) < 0.5)


def test_noise_does_not_keep_a_ray_alive():
    """Means of stretches hardly move: a ray without progress is given up within some stretches."""
    rng, watch = np.random.default_rng(0), ReachWatch(0)
    given_up = [watch.update(1.5 + 0.3 * rng.standard_normal(), reached=False) for _ in range(2000)]
    assert given_up[-1]
