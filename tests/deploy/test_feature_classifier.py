"""One estimator for heads on features: scikit-learn's habits, and what the linear ones read."""

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from sklearn.utils.estimator_checks import check_estimator

from psst.deploy import FeatureClassifier
from psst.fewshot import MatchingHead, PrototypicalHead

LINEAR = ("nearest_mean", "ridge", "logistic")


def clusters(n=30, classes=3, width=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return 2 * rng.normal(size=(classes, width))[labels] + rng.normal(size=(n, width)), labels


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, on the odd data of its own checks
@pytest.mark.parametrize("head", [*LINEAR, {"class_path": "psst.fewshot.RidgeHead"}])
def test_it_is_an_estimator_of_scikit_learn(head):
    check_estimator(FeatureClassifier(head))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("head", LINEAR)
def test_where_features_lie_how_long_and_how_turned_they_are_says_nothing(head, classes):
    features, labels = clusters(classes=classes)
    moved = 1e3 * features @ ortho_group.rvs(8, random_state=1) + 7
    fitted, other = (FeatureClassifier(head, 10.0).fit(one, labels) for one in (features, moved))
    scale = np.abs(fitted.logits(features)).max()
    gap = np.abs(fitted.logits(features) - other.logits(moved)).max()
    assert (
        gap < 1e-2 * scale
    )  # rounding may end `logistic` an iteration earlier: a tolerance of 1e-4 on gradients


def test_the_nearest_mean_is_that_of_the_few_shot_head_on_centered_features():
    features, labels = clusters()
    center = np.mean([features[labels == one].mean(axis=0) for one in range(3)], axis=0)
    centered = FeatureClassifier(PrototypicalHead("cosine")).fit(features - center, labels)
    found = FeatureClassifier("nearest_mean").fit(features, labels).logits(features)
    np.testing.assert_allclose(found, centered.logits(features - center), rtol=1e-9, atol=1e-9)


def test_any_head_reads_features_as_they_are():
    features, labels = clusters()
    expected = MatchingHead()(*(torch.from_numpy(one)[None] for one in (features, labels, features)), 3)[0]
    names = np.array(["a", "b", "c"])[labels]
    fitted = FeatureClassifier(MatchingHead()).fit(features, names)
    np.testing.assert_array_equal(fitted.logits(features), expected)
    assert fitted.predict(features).tolist() == np.array(["a", "b", "c"])[expected.argmax(dim=1)].tolist()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nearest",), r"`head=nearest` must be one of \('nearest_mean', 'logistic', 'ridge'\)"),
        (("logistic", 0.0), r"`strength=0.0` must be above 0"),
    ],
)
def test_settings_are_checked_when_it_is_fitted(arguments, told):
    with pytest.raises(ValueError, match=told):
        FeatureClassifier(*arguments).fit(*clusters())
