import json

import numpy as np
import pytest

from psst.pareto import LossEMA, centered_log


def test_centered_log_forgets_a_common_factor():
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (5, 3))
    centered = centered_log(np.log(losses))
    np.testing.assert_allclose(centered.sum(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(centered_log(np.log(1e6 * losses)), centered, atol=1e-12)


def test_factor_of_one_loss_moves_every_point_alike():
    losses = np.random.default_rng(1).uniform(0.1, 3.0, (5, 3))
    moved = centered_log(np.log(losses * [1.0, 1e3, 1.0])) - centered_log(np.log(losses))
    np.testing.assert_allclose(moved, moved[:1].repeat(5, axis=0), atol=1e-12)


def test_ema_stays_at_losses_that_stay_and_forgets_where_it_started():
    """The law of its weights: after t steps the share kept is min(decay, 1 - 10 / (t + 10))."""
    ema, mean = LossEMA(0.99), 0.0
    for t in range(1500):
        loss = 30.0 if t == 0 else 1.0 + 0.1 * np.sin(t)
        keep = min(0.99, 1.0 - 10.0 / (t + 10.0))
        mean = keep * mean + (1.0 - keep) * loss
        logs = ema.update(np.array([loss, 0.5]))
        np.testing.assert_allclose(logs, np.log([mean, 0.5]))
        assert t != 200 or mean < 1.1  # with 0.99 from the start on, 13% of 30 would be left


def test_batches_of_one_step_count_once():
    whole, parts = LossEMA(0.9), LossEMA(0.9)
    for step, (first, second) in enumerate(np.random.default_rng(0).uniform(0.1, 2.0, (30, 2, 3))):
        parts.update(first, step)
        np.testing.assert_allclose(parts.update(second, step), whole.update((first + second) / 2, step))
        np.testing.assert_allclose(parts.update((first + second) / 2, step), np.log(whole.mean))


def test_an_absent_task_keeps_its_mean_and_its_age():
    rng, together, alone = np.random.default_rng(1), LossEMA(), LossEMA()
    for step in range(60):
        losses = rng.uniform(0.1, 2.0, 2)
        if step % 3:
            alone.update(losses[1:])
        else:
            losses[1] = np.nan
        logs = together.update(losses)
        assert np.isnan(logs[1]) == (not len(alone.mean))
        if len(alone.mean):
            np.testing.assert_allclose(logs[1], np.log(alone.mean[0]))


def test_a_mean_that_is_not_positive_has_no_logarithm():
    ema = LossEMA(0.0)
    np.testing.assert_array_equal(np.isnan(ema.update(np.array([1.0, 0.0, -1.0]))), [False, True, True])
    np.testing.assert_allclose(ema.mean, [1.0, 0.0, -1.0])
    with pytest.raises(ValueError, match="`losses` must be finite"):
        ema.update(np.array([1.0, np.inf, 1.0]))


def test_ema_goes_on_where_another_stopped():
    rng = np.random.default_rng(2)
    whole, first, second = LossEMA(), LossEMA(), LossEMA()
    series = rng.uniform(0.1, 2.0, (20, 2))
    for losses in series[:10]:
        whole.update(losses)
        first.update(losses)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for losses in series[10:]:
        np.testing.assert_array_equal(whole.update(losses), second.update(losses))


def test_ema_checks_its_decay_and_the_number_of_losses():
    with pytest.raises(ValueError, match=r"`ema` must be a number in \[0, 1\), got 1.0"):
        LossEMA(1.0)
    with pytest.raises(ValueError, match=r"got '0\.9'"):
        LossEMA("0.9")
    ema = LossEMA()
    ema.update(np.ones(2))
    with pytest.raises(ValueError, match=r"must stay \[2\] in every step, got \[3\]"):
        ema.update(np.ones(3))
