"""Heads on features as one estimator of scikit-learn: linear ones by name, any head of `psst.fewshot`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from psst.components import as_component
from psst.fewshot import Head

__all__ = ["FeatureClassifier"]

Floats = npt.NDArray[np.float64]
_Rows = tuple[Floats, Floats]  # one a class, and what is added to each logit
_SCALE = 10.0  # of cosines, so that the softmax of near and far differs


class FeatureClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped in scikit-learn
    """Classifies feature vectors by a head, with the habits of scikit-learn's estimators.

    Heads by name are linear and read directions: a feature minus the mean of the class means, brought to
    length 1.

    Args:
        head: ``nearest_mean`` (cosines to class means), ``logistic`` (logistic regression), ``ridge`` (ridge
            regression onto one-hot labels), or a head of `psst.fewshot`, which reads features as they are.
        strength: How closely ``logistic`` (its C) and ``ridge`` (the inverse of its penalty) follow the
            examples; the others have none.

    Attributes:
        classes_: ``[N]`` labels, sorted.

    Raises:
        ValueError: `head` is no such name, or `strength` not above 0; when it is fitted.

    Example:
        >>> features = np.array([[1.0, 0.2], [0.9, 0.1], [0.1, 1.0], [0.3, 0.8]])
        >>> FeatureClassifier("logistic").fit(features, ["cup", "cup", "jug", "jug"]).predict([[0.2, 0.9]])
        array(['jug'], dtype='<U3')
    """

    def __init__(self, head: str | Head = "nearest_mean", strength: float = 1.0) -> None:
        self.head = head
        self.strength = strength

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "FeatureClassifier":  # noqa: N803 - scikit-learn's
        """Take examples.

        Args:
            X: Features ``[n, D]``.
            y: ``[n]`` labels.

        Raises:
            ValueError: They are of one class, or do not fit each other.
        """
        features, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` holds one class, {self.classes_.tolist()}; give examples of two or more.")
        if not self.strength > 0:
            raise ValueError(f"`strength={self.strength}` must be above 0.")
        if not isinstance(self.head, str):
            self._examples = torch.from_numpy(features)[None], torch.from_numpy(labels)[None]
            return self
        if self.head not in _LINEAR:
            raise ValueError(f"`head={self.head}` must be one of {list(_LINEAR)}, or a head of psst.fewshot.")
        count = len(self.classes_)
        self._center = np.mean([features[labels == one].mean(axis=0) for one in range(count)], axis=0)
        self._rows, self._offsets = _LINEAR[self.head](
            self._directions(features), labels, count, self.strength
        )
        return self

    def logits(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """Return logits ``[n, N]`` of features ``[n, D]``, in the order of `classes_`."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        found: Floats
        if isinstance(self.head, str):
            found = self._directions(features) @ self._rows.T + self._offsets
            return found
        head = as_component("head", self.head, Head).eval()
        with torch.no_grad():
            logits = head(*self._examples, torch.from_numpy(features)[None], len(self.classes_))
        found = logits[0].double().numpy()
        return found

    def decision_function(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """Return logits ``[n, N]``; of two classes those of the second above the first, ``[n]``."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """Return the softmax of `logits`, ``[n, N]``."""
        found: Floats = softmax(self.logits(X), axis=1)
        return found

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803
        """Return the label of each feature, ``[n]``."""
        best = self.logits(X).argmax(axis=1)
        found: npt.NDArray[Any] = self.classes_[best]
        return found

    def _directions(self, features: Floats) -> Floats:
        return _unit(features - self._center)


def _unit(vectors: Floats) -> Floats:
    """Return vectors ``[n, D]`` of length 1; a zero stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _nearest_mean(directions: Floats, labels: npt.NDArray[np.int64], count: int, _: float) -> _Rows:
    means = np.stack([directions[labels == one].mean(axis=0) for one in range(count)])
    return _SCALE * _unit(means), np.zeros(count)


def _logistic(directions: Floats, labels: npt.NDArray[np.int64], count: int, strength: float) -> _Rows:
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, max_iter=1000).fit(directions, labels)
    if count > 2:
        return found.coef_, found.intercept_
    return np.outer([-0.5, 0.5], found.coef_[0]), found.intercept_[0] * np.array([-0.5, 0.5])


def _ridge(directions: Floats, labels: npt.NDArray[np.int64], count: int, strength: float) -> _Rows:
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=1 / strength).fit(directions, np.eye(count)[labels])
    return found.coef_, found.intercept_


_LINEAR = {"nearest_mean": _nearest_mean, "logistic": _logistic, "ridge": _ridge}
