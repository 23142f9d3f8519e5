import json

import numpy as np
import pytest

from psst.pareto.reach_watch import ReachWatch
from psst.pareto.subproblem import Subproblem, dead_zone, tilt, tilted_weights


def test_lagging_tasks_gain_weight_and_leading_ones_lose_it():
    prior = np.array([0.6, 0.3, 0.1])
    weights = tilted_weights(prior, tilt(np.array([1.0, 0.0, -1.0]), 0.25))
    assert weights[0] > prior[0]
    assert weights[2] < prior[2]
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose(np.log(weights[0] / weights[1] / 2.0), 4.0 * 0.75)


def test_tilt_is_odd_monotone_clipped_and_zero_inside_the_dead_zone():
    errors = np.linspace(-5.0, 5.0, 201)
    tilts = tilt(errors, 0.25)
    np.testing.assert_allclose(tilts, -tilt(-errors, 0.25))
    assert (np.diff(tilts) >= 0).all()
    assert (tilts[np.abs(errors) <= 0.25] == 0).all()
    assert tilts.max() == 4.0 * 1.75


def test_dead_zone_grows_with_the_noise():
    assert dead_zone(0.0, 1.0) == 0.25
    assert dead_zone(0.25, 1.0) == 0.5


def test_zero_prior_stays_zero_under_any_tilt():
    np.testing.assert_array_equal(tilted_weights(np.array([1.0, 0.0]), np.array([-7.0, 7.0])), [1.0, 0.0])


@pytest.mark.parametrize(("run_steps", "patience"), [(0, 200), (1000, 200), (5000, 500)])
def test_ray_is_given_up_after_200_steps_or_a_tenth_of_the_run(run_steps, patience):
    watch = ReachWatch(run_steps)
    given_up = [watch.update(1.5, reached=False) for _ in range(patience + 2)]
    assert given_up.index(True) == patience  # the first step sets the reference
    assert watch.nearest == 1.5


def test_ray_that_comes_nearer_or_is_reached_is_not_given_up():
    nearing, reached = ReachWatch(0), ReachWatch(0)
    for step in range(1000):
        assert not nearing.update(3.0 * 0.999**step, reached=False)
        assert not reached.update(0.4, reached=True)


def test_given_up_subproblem_goes_on_at_its_prior():
    subproblem, prior = Subproblem(0), np.array([0.7, 0.3])
    aims = [subproblem.aim(np.array([1.5, -1.5]), prior, 0.25, in_sector=False) for _ in range(300)]
    assert aims[100].target[0] > 0.99
    np.testing.assert_allclose(aims[-1].target, prior)
    assert aims[-1].certificates["unreachable"] == 1.0
    assert aims[-1].certificates["nearest_distance"] == 1.5


def test_flips_count_changes_of_side_and_survive_a_resume():
    errors = [1.0, 0.0, -1.0, -1.0, 1.0, 0.1, 1.0]
    subproblem, prior = Subproblem(0), np.array([0.5, 0.5])
    for error in errors[:3]:
        subproblem.aim(np.array([error, -error]), prior, 0.25, in_sector=True)
    resumed = Subproblem(0)
    resumed.load_state_dict(json.loads(json.dumps(subproblem.state_dict())))
    for error in errors[3:]:
        aim = resumed.aim(np.array([error, -error]), prior, 0.25, in_sector=True)
    assert aim.certificates["flips"] == 2.0
    assert aim.certificates["flips_per_1000"] == pytest.approx(2000 / 7)
