"""Heads on features as one estimator of scikit-learn: linear ones by name, any head of `psst.fewshot`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from psst.components import as_component
from psst.fewshot import Head, PrototypicalHead

_Floats = npt.NDArray[np.float64]
_NEAREST = "nearest_mean"
_SOLVERS = {
    "logistic": lambda strength: LogisticRegression(C=strength, max_iter=1000),
    "ridge": lambda strength: RidgeClassifier(alpha=1 / strength),
}


class FeatureClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped in scikit-learn
    """Classifies feature vectors by a head, with the habits of scikit-learn's estimators.

    Heads by name read directions: features minus the mean of the class means, brought to length 1.

    Args:
        head: ``nearest_mean`` (by cosine), ``logistic`` or ``ridge`` (regressions), or a head of
            `psst.fewshot` or its description, which reads features as they are.
        strength: How closely ``logistic`` (its C) and ``ridge`` (1 over its penalty) follow the examples.

    Attributes:
        classes_: ``[N]`` labels, sorted.

    Raises:
        ValueError: `head` is no such name, or `strength` not above 0; when it is fitted.

    Example:
        >>> features = np.array([[1.0, 0.2], [0.9, 0.1], [0.1, 1.0], [0.3, 0.8]])
        >>> FeatureClassifier("logistic").fit(features, ["cup", "cup", "jug", "jug"]).predict([[0.2, 0.9]])
        array(['jug'], dtype='<U3')
    """

    def __init__(self, head: str | Head = _NEAREST, strength: float = 1.0) -> None:
        self.head = head
        self.strength = strength

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "FeatureClassifier":  # noqa: N803 - scikit-learn's
        """Take features ``[n, D]`` and their labels ``[n]``; ValueError if these are of one class."""
        features, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            found = self.classes_.tolist()
            raise ValueError(f"the examples are of one class, {found}; give examples of two classes or more.")
        if not self.strength > 0:
            raise ValueError(f"`strength={self.strength}` must be above 0.")
        if isinstance(self.head, str) and self.head not in (known := (_NEAREST, *_SOLVERS)):
            raise ValueError(f"`head={self.head}` must be one of {known}, or a head of psst.fewshot.")
        self._center = np.mean([features[labels == one].mean(0) for one in range(len(self.classes_))], axis=0)
        read, self._solver = self._read(features), None
        if isinstance(self.head, str) and self.head != _NEAREST:
            self._solver = _SOLVERS[self.head](self.strength).fit(read, labels)
        self._support = torch.from_numpy(read)[None], torch.from_numpy(labels)[None]
        return self

    def logits(self, X: npt.ArrayLike) -> _Floats:  # noqa: N803 - as above
        """Return logits ``[n, N]`` of features ``[n, D]``, in the order of `classes_`."""
        check_is_fitted(self)
        read = self._read(validate_data(self, X, dtype=np.float64, reset=False))
        if self._solver is not None:
            solved: _Floats = self._solver.decision_function(read)
            return solved if solved.ndim == 2 else np.outer(solved, [-0.5, 0.5])
        head = PrototypicalHead("cosine") if self.head == _NEAREST else as_component("head", self.head, Head)
        with torch.no_grad():
            logits = head.eval()(*self._support, torch.from_numpy(read)[None], len(self.classes_))
        return np.asarray(logits[0].double())

    def decision_function(self, X: npt.ArrayLike) -> _Floats:  # noqa: N803 - as above
        """Return logits ``[n, N]``; of two classes those of the second above the first, ``[n]``."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> _Floats:  # noqa: N803 - as above
        """Return the softmax of `logits`, ``[n, N]``."""
        return np.asarray(softmax(self.logits(X), axis=1))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803 - as above
        """Return the label of each feature, ``[n]``."""
        best = self.logits(X).argmax(axis=1)  # who is not fitted is told so before anything else
        return np.asarray(self.classes_[best])

    def _read(self, features: _Floats) -> _Floats:
        if not isinstance(self.head, str):
            return features
        return np.asarray(normalize(features - self._center))
