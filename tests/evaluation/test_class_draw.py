"""Intervals over the draw of classes: what they cover, and what they ask for."""

import numpy as np
import pytest

from psst.evaluation import EpisodeScores, class_difference, load_scores, save_scores
from psst.evaluation.class_draw import _class_variance, _pooled_difference
from psst.evaluation.scores import half_width


def drawn(rng, n, n_classes, way):
    return np.argsort(rng.random((n, n_classes)), axis=1)[:, :way]


def episodes(rng, n, n_classes, way, by_class=0.05, by_pair=0.05, noise=0.08):
    """Differences of two models that are equal over all classes there are, not over those drawn."""
    ids = drawn(rng, n, n_classes, way)
    confused = rng.normal(scale=by_pair, size=(n_classes, n_classes))
    pairs = (confused + confused.T)[ids[:, :, None], ids[:, None, :]].mean(axis=(1, 2))
    values = rng.normal(scale=by_class, size=n_classes)[ids].mean(axis=1) + pairs
    return values + rng.normal(scale=noise, size=n), ids


@pytest.mark.parametrize(("n_classes", "way"), [(8, 5), (16, 5), (47, 5), (10, 2)])
def test_the_interval_covers_what_it_says(n_classes, way):
    """400 draws of classes: 95 % within 3 standard errors of coverage and the bias of a few classes."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        values, ids = episodes(rng, 300, n_classes, way)
        difference = _pooled_difference([values], [ids])
        covered = abs(difference.mean) <= difference.half_width
        found.append((covered, abs(difference.mean) <= difference.episode_half_width))
    with_classes, without = np.mean(found, axis=0)
    assert 0.88 <= with_classes <= 0.985
    assert without < 0.75


@pytest.mark.parametrize(("n_classes", "way"), [(16, 5), (60, 5)])
def test_the_variance_has_no_bias_where_classes_add_up(n_classes, way):
    rng = np.random.default_rng(1)
    means, variances = [], []
    for _ in range(300):
        values, ids = episodes(rng, 300, n_classes, way, by_pair=0.0)
        means.append(values.mean())
        variances.append(_class_variance(values, ids)[0])
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.25)  # 3 standard errors of a variance


def test_without_differences_between_classes_the_draw_of_episodes_is_left():
    rng = np.random.default_rng(2)
    values, ids = episodes(rng, 4000, 30, 5, by_class=0.0, by_pair=0.0)
    variance, n_classes = _class_variance(values, ids)
    assert n_classes == 30
    assert 1.96 * np.sqrt(variance) == pytest.approx(half_width(values), rel=0.35)
    assert _pooled_difference([values], [ids]).half_width >= half_width(values)


def test_the_interval_does_not_depend_on_the_names_of_classes_or_the_order_of_episodes():
    rng = np.random.default_rng(3)
    values, ids = episodes(rng, 500, 20, 5)
    order, names = rng.permutation(500), rng.permutation(1000)[:20]
    assert _class_variance(values[order], names[ids][order])[0] == pytest.approx(
        _class_variance(values, ids)[0]
    )


def test_groups_are_pooled_by_their_episodes():
    rng = np.random.default_rng(4)
    parts = [episodes(rng, n, 20, 5) for n in (300, 100)]
    pooled = _pooled_difference([values for values, _ in parts], [ids for _, ids in parts])
    variances = [_class_variance(values, ids)[0] for values, ids in parts]
    assert pooled.mean == pytest.approx(np.concatenate([values for values, _ in parts]).mean())
    assert pooled.n_classes == 40
    assert pooled.half_width > 1.96 * np.sqrt(0.75**2 * variances[0] + 0.25**2 * variances[1])


@pytest.mark.parametrize("n_classes", [5, 6])
def test_episodes_of_almost_all_classes_say_nothing_of_their_draw(n_classes):
    values, ids = episodes(np.random.default_rng(5), 200, n_classes, 5)
    assert _class_variance(values, ids) is None
    difference = _pooled_difference([values], [ids])
    assert difference.half_width == difference.episode_half_width == half_width(values)
    assert "only" in difference.covers


def scores(values, ids, stream="one"):
    accuracies = (0.5 + values).clip(0, 1).astype(np.float32)
    return EpisodeScores(accuracies, 1 - accuracies, stream, 0, 5, 1, 15, ids)


def test_classes_are_kept_in_the_file(tmp_path):
    values, ids = episodes(np.random.default_rng(6), 50, 20, 5)
    save_scores(
        tmp_path / "scores.npz", {"a": scores(values, ids.astype(np.int32)), "b": scores(values, None)}
    )
    found = load_scores(tmp_path / "scores.npz")
    assert (found["a"].class_ids == ids).all()
    assert found["b"].class_ids is None
    assert class_difference({"b": found["b"]}, {"b": found["b"]}).n_classes == 0


def test_models_are_compared_on_the_same_episodes_only():
    values, ids = episodes(np.random.default_rng(7), 50, 20, 5)
    with pytest.raises(ValueError, match="different episodes"):
        class_difference({"a": scores(values, ids)}, {"a": scores(values, ids, "other")})
