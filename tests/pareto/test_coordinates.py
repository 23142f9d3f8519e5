import json

import numpy as np
import pytest

from psst.pareto import LossEMA, centered_log, first_without_log


def test_centered_log_forgets_a_common_factor():
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (5, 3))
    centered = centered_log(np.log(losses))
    np.testing.assert_allclose(centered.sum(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(centered_log(np.log(1e6 * losses)), centered, atol=1e-12)


def test_factor_of_one_loss_moves_every_point_alike():
    losses = np.random.default_rng(1).uniform(0.1, 3.0, (5, 3))
    moved = centered_log(np.log(losses * [1.0, 1e3, 1.0])) - centered_log(np.log(losses))
    np.testing.assert_allclose(moved, moved[:1].repeat(5, axis=0), atol=1e-12)


def test_fresh_ema_starts_at_the_first_losses_and_stays_there():
    ema = LossEMA(0.9)
    for _ in range(3):
        np.testing.assert_allclose(ema.update(np.array([2.0, 0.5])), np.log([2.0, 0.5]))
    np.testing.assert_allclose(ema.update(np.array([3.0, 0.5])), np.log([2.1, 0.5]))


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


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_loss_without_logarithm_is_named(bad):
    losses = np.array([1.0, bad])
    assert first_without_log(losses) == 1
    assert first_without_log(np.ones(2)) is None
    ema = LossEMA()
    ema.update(np.ones(2))
    with pytest.raises(ValueError, match=r"`losses\[1\]` must be finite and positive.*`FixedWeights`"):
        ema.update(losses)
    np.testing.assert_array_equal(ema.mean, np.ones(2))


def test_ema_checks_its_decay_and_the_number_of_losses():
    with pytest.raises(ValueError, match=r"`ema` must be in \[0, 1\), got 1.0"):
        LossEMA(1.0)
    ema = LossEMA()
    ema.update(np.ones(2))
    with pytest.raises(ValueError, match=r"must stay \[2\] in every step, got \[3\]"):
        ema.update(np.ones(3))
