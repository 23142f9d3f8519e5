"""From a folder of labeled images to a classifier whose head was chosen by images left out.

The figure is nested: for every part that is left out, a head is chosen and trained on the others alone. It is
what choosing and training reaches on new images like these, not the best of several figures.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold

from psst.backbones import Adapted, Encoder
from psst.backbones.pretrained import find_frozen
from psst.deploy.calibration import fit_temperature
from psst.deploy.classifier import FewShotClassifier
from psst.deploy.feature_classifier import FeatureClassifier
from psst.episodes import Policies
from psst.features import FeatureCache, build_features
from psst.images import ImageRecord, ImageStore, build_store
from psst.images.sources.folder import FolderSource
from psst.images.sources.groups import ImageGroups
from psst.images.sources.lists import UNDIVIDED
from psst.images.view import UPRIGHT, View
from psst.waiting import bar

_CANDIDATES = {  # the first of equals is taken: simple ones go first
    "nearest mean": FeatureClassifier("nearest_mean"),
    **{f"ridge regression, {s}": FeatureClassifier("ridge", float(s)) for s in (1, 10)},
    **{f"logistic regression, C = {c}": FeatureClassifier("logistic", float(c)) for c in (1, 10, 100)},
}
_LEAST = 3  # images, or groups, of a class: one left out, one left out of the others, one to learn from
_MANY = 400  # images, from which on fewer parts tell as much
_PARTS, _PARTS_OF_MANY = (10, 5), (5, 3)  # left out, and within the rest
_Floats = npt.NDArray[np.float64]
_Ids = npt.NDArray[np.int64]
_Share = tuple[float, float, float]  # mean, lower and upper end


class Choice(NamedTuple):
    """What images left out tell of the heads: accuracies in [0, 1], each with Wilson's 95 % interval.

    Example:
        >>> choose_head(features, labels).nested
        (0.9, 0.7985, 0.9533)
    """

    name: str  # of the best one
    head: FeatureClassifier  # itself, to be fitted
    temperature: float  # divides its logits
    n: int  # independent images, or groups of them, that intervals are of
    nested: _Share  # of choosing and training; what to expect of new images
    candidates: dict[str, _Share]  # each head's own by name; the best of them flatters
    confusion: _Ids  # [N, N], how many images of each class were told to be of which, as for `nested`


def adapt(
    folder: str | Path,
    encoder: str,
    groups: ImageGroups | None = None,
    cache: str | Path = ".psst",
    seed: int = 0,
) -> tuple[FewShotClassifier, Choice]:
    """Choose and train a classifier of the classes in a folder, on the features of a frozen encoder.

    Args:
        folder: A folder a class.
        encoder: ``efficientnet-lite0``, ``timm:NAME``, ``NAME@FILE``, or a folder of ``psst export``.
        groups: Images that show the same thing, which are left out together.
        cache: Folder of decoded images and features, which are made once.
        seed: Of the parts that are left out.

    Raises:
        FileNotFoundError: There are no images, or no such encoder.
        ImportError: Its package is missing.
        ValueError: A file is damaged, there is one class, or a class has too few images or groups.
    """
    store, frozen, features, alike, paths = _encoded(folder, encoder, groups, cache)
    labeled = store.labels >= 0  # the others lie in a folder `unlabeled`
    features, labels = features[labeled], store.labels[labeled]
    choice = choose_head(features, labels, alike[labeled], seed)
    names = [store.class_names[label] for label in labels]
    classifier = FewShotClassifier(frozen, choice.head, choice.temperature)
    return classifier.fit_features(features, names, paths[labeled].tolist()), choice


def choose_head(
    features: npt.NDArray[np.floating], labels: _Ids, groups: _Ids | None = None, seed: int = 0
) -> Choice:
    """Compare heads on images left out, and say what choosing among them so is worth.

    Features are ``[n, D]``, labels ``[n]`` integers; images with one of the numbers `groups` ``[n]`` are left
    out together. ValueError if these leave a class nothing to learn from.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    labels = np.unique(labels, return_inverse=True)[1]
    flat = features.astype(np.float64)
    if flat.shape[0] < flat.shape[1]:  # turned into as many dimensions as they span, which no head notices
        flat = np.linalg.qr(flat.T)[1].T
    outer, inner = _PARTS if len(labels) <= _MANY else _PARTS_OF_MANY
    part, told = _parts(labels, groups, outer, seed), np.zeros(len(labels), int)
    with bar("parts left out") as show:
        for number in range(part.max() + 1):
            out = part == number
            within = _parts(labels[~out], groups[~out], inner, seed)
            best = _best(_left_out(flat[~out], labels[~out], within), labels[~out])
            fitted = clone(_CANDIDATES[best]).fit(flat[~out], labels[~out])
            told[out] = fitted.predict(flat[out])
            show(number + 1, part.max() + 1)
    logits, n = _left_out(flat, labels, part), len(np.unique(groups))
    shares = {name: _share(found.argmax(axis=1) == labels, n) for name, found in logits.items()}
    name = _best(logits, labels)
    found = name, _CANDIDATES[name], fit_temperature(logits[name], labels), n
    return Choice(*found, _share(told == labels, n), shares, confusion_matrix(labels, told))


def frozen_encoder(name: str) -> Encoder:
    """Return a pretrained encoder, named as for `adapt`, behind which an adapter adds nothing."""
    source, found = find_frozen(name), Encoder(Adapted(name, width=1)).eval()
    found.build((source.channels, *source.recipe["size"]))
    return found


def _encoded(
    folder: str | Path, encoder: str, groups: ImageGroups | None, cache: str | Path
) -> tuple[ImageStore, Encoder, npt.NDArray[np.float32], _Ids, npt.NDArray[np.str_]]:
    """Return images, all to train on, an encoder whose adapter adds nothing, features, groups and paths."""
    frozen = frozen_encoder(encoder)
    channels, size, _ = frozen.image_shape or (0, 0, 0)
    images = FolderSource(folder, "adapt", channels, UNDIVIDED, groups=groups)
    with warnings.catch_warnings(action="ignore"):  # building the store tells
        records = images.scan()
    _require_enough(records, folder, encoder)
    store = build_store(images, size, cache)
    alike = np.where(store.image_groups < 0, -1 - np.arange(len(store)), store.image_groups)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = build_features(frozen, store, [View(UPRIGHT)], Policies(), cache, device)
    with torch.no_grad():
        features = cast(Adapted, frozen.backbone).adapted(FeatureCache.open(path).features[:, 0].float())
    return store, frozen, features.numpy(), alike, np.array([str(one.reference) for one in records])


def _require_enough(records: Sequence[ImageRecord], folder: str | Path, encoder: str) -> None:
    """Refuse what leaves nothing to learn from, before any image is decoded."""
    alike: dict[str, set[object]] = defaultdict(set)
    for number, record in enumerate(records):
        if record.class_name:
            alike[record.class_name].add(number if record.image_group is None else record.image_group)
    if len(alike) < 2:
        raise ValueError(f"`{folder}` holds one class, `{next(iter(alike))}`; add a folder of another.")
    for name, found in alike.items():
        if len(found) < _LEAST:
            raise ValueError(
                f"class `{name}` of `{folder}` has {len(found)} images, or groups of them, leaving some out "
                f"needs {_LEAST}; add some, or use these: `psst classify {folder} NEW_IMAGES --encoder "
                f"{encoder}`."
            )


def _parts(labels: _Ids, groups: _Ids, count: int, seed: int) -> _Ids:
    """Return which part each image is left out with: groups whole, classes spread over the parts."""
    count = min(count, max(len(np.unique(groups[labels == one])) for one in np.unique(labels)))
    splits, part = StratifiedGroupKFold(count, shuffle=True, random_state=seed), np.zeros(len(labels), int)
    with warnings.catch_warnings(action="ignore"):  # a class may have fewer images than there are parts
        for number, (_, out) in enumerate(splits.split(labels, labels, groups)):
            part[out] = number
    if any(np.ptp(part[labels == one]) == 0 for one in np.unique(labels)):
        raise ValueError(
            "groups of images span several classes and leave one nothing to learn from; name smaller groups."
        )
    return np.unique(part, return_inverse=True)[1]


def _left_out(features: _Floats, labels: _Ids, part: _Ids) -> dict[str, _Floats]:
    """Return each head's logits ``[n, N]`` of images that it was not trained on."""
    found = {name: np.zeros((len(labels), labels.max() + 1)) for name in _CANDIDATES}
    for number in range(part.max() + 1):
        out = part == number
        for name, head in _CANDIDATES.items():
            found[name][out] = clone(head).fit(features[~out], labels[~out]).logits(features[out])
    return found


def _best(logits: dict[str, _Floats], labels: _Ids) -> str:
    return max(logits, key=lambda name: (logits[name].argmax(axis=1) == labels).mean())


def _share(right: npt.NDArray[np.bool_], n: int) -> _Share:
    """Return the share of images told right, the interval that of `n` independent groups of them."""
    mean = float(right.mean())
    low, high = binomtest(round(n * mean), n).proportion_ci(method="wilson")
    return mean, float(low), float(high)
