"""From a folder of labeled images to a classifier: the head is chosen by images that were left out.

The figure is nested: for every part that is left out, a head is chosen and trained on the others alone, as at
the end on all images. It is what choosing and training reaches on new images like these, not the best of
several figures on the images that chose.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone

from psst.backbones import Adapted, Encoder
from psst.backbones.pretrained import find_frozen
from psst.deploy.calibration import fit_temperature
from psst.deploy.classifier import FewShotClassifier
from psst.deploy.feature_classifier import FeatureClassifier
from psst.episodes import Policies
from psst.features import FeatureCache, build_features
from psst.images.build import build_store
from psst.images.files.waiting import bar
from psst.images.sources.division import UNDIVIDED
from psst.images.sources.folder import FolderSource
from psst.images.sources.groups import ImageGroups
from psst.images.store import ImageStore
from psst.images.view import UPRIGHT, View

__all__ = ["Adaptation", "Choice", "Share", "adapt", "choose_head"]

CANDIDATES = {  # the first of equals is taken: simple ones go first
    "nearest mean": FeatureClassifier("nearest_mean"),
    "ridge regression, 1": FeatureClassifier("ridge", 1.0),
    "ridge regression, 10": FeatureClassifier("ridge", 10.0),
    "logistic regression, C = 1": FeatureClassifier("logistic", 1.0),
    "logistic regression, C = 10": FeatureClassifier("logistic", 10.0),
    "logistic regression, C = 100": FeatureClassifier("logistic", 100.0),
}
_LEAST = 3  # images, or groups, of a class: one left out, one left out of the others, one to learn from
_MANY = 400  # images, from which on fewer folds tell as much
_FOLDS, _FOLDS_OF_MANY = (10, 5), (5, 3)  # left out, and within the rest
_NORMAL = 1.959963984540054  # of a 95 % interval
Floats = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """An accuracy, in [0, 1], with Wilson's 95 % interval over images, or over groups where there are groups.

    Attributes:
        mean: Share of images that were told right.
        n: Independent images or groups.

    Example:
        >>> Share(0.9, 60).interval
        (0.7984631876645293, 0.953327541417033)
    """

    mean: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; it does not cover the draw of the images that train."""
        z2 = _NORMAL**2 / self.n
        half = math.sqrt(z2) * math.sqrt(self.mean * (1 - self.mean) + z2 / 4)
        low, high = ((self.mean + z2 / 2 + sign * half) / (1 + z2) for sign in (-1, 1))
        return max(low, 0.0), min(high, 1.0)

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        return f"{100 * self.mean:.1f} % ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Choice:
    """What was found on images left out.

    Attributes:
        name: Of the head that is best.
        nested: Of choosing and training; what to expect of new images.
        candidates: By name, each head's own figure; the best of them flatters.
        temperature: Divides the best head's logits.
        head: The best one, to be fitted.

    Example:
        >>> choose_head(features, labels).nested.mean  # features [n, D], labels [n]
        0.9667
    """

    name: str
    nested: Share
    candidates: dict[str, Share]
    temperature: float
    head: FeatureClassifier


@dataclass(frozen=True)
class Adaptation:
    """A classifier and how it was chosen.

    Attributes:
        classifier: Trained on all images.
        choice: Of its head.
        images: By class, how many there are.
        groups: How many images, or groups of them, are independent.

    Example:
        >>> adapt("photos", "efficientnet-lite0").classifier.save("classifier")
        PosixPath('classifier')
    """

    classifier: FewShotClassifier
    choice: Choice
    images: dict[str, int]
    groups: int


def adapt(
    folder: str | Path,
    encoder: str,
    groups: ImageGroups | None = None,
    cache: str | Path = ".psst",
    seed: int = 0,
    progress: bool | None = None,
) -> Adaptation:
    """Choose and train a classifier of the classes in a folder, on the features of a frozen encoder.

    Images and features are kept in the cache: a second call takes seconds.

    Args:
        folder: A folder a class.
        encoder: ``efficientnet-lite0``, ``timm:NAME``, ``NAME@FILE``, or a folder of ``psst export``.
        groups: Images that show the same thing, which are left out together.
        cache: Folder of stores and features.
        seed: Of the parts that are left out.
        progress: Show bars on stderr; None if that is a terminal.

    Raises:
        FileNotFoundError: There are no images, or no such encoder.
        ImportError: The package with the encoder's weights is not installed.
        ValueError: A file is damaged, there is one class, or a class has too few images or groups to leave
            some out.
    """
    store, frozen, features, alike = _encoded(folder, encoder, groups, cache, progress)
    choice = choose_head(features, store.labels, alike, seed, progress)
    names = [store.class_names[label] for label in store.labels]
    classifier = FewShotClassifier(frozen, choice.head, choice.temperature).fit_features(features, names)
    sizes = {name: int(n) for name, n in zip(store.class_names, np.bincount(store.labels), strict=True)}
    return Adaptation(classifier, choice, sizes, len(np.unique(alike)))


def choose_head(
    features: Floats, labels: Ids, groups: Ids | None = None, seed: int = 0, progress: bool | None = None
) -> Choice:
    """Compare the heads on images left out, and say what choosing among them so is worth.

    Args:
        features: ``[n, D]``.
        labels: ``[n]``, integers.
        groups: ``[n]``, numbers of groups that are left out together; None where each image is alone.
        seed: Of the parts.
        progress: As of `adapt`.

    Raises:
        ValueError: All images of a class would be left out together.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    labels = np.unique(labels, return_inverse=True)[1]
    features, rng = _turned(features), np.random.default_rng(seed)
    outer, inner = _FOLDS if len(labels) <= _MANY else _FOLDS_OF_MANY
    fold = _parts(labels, groups, outer, rng)
    right, parts = np.zeros(len(labels), bool), range(fold.max() + 1)
    for part in _shown(parts, progress):
        out = fold == part
        within = _parts(labels[~out], groups[~out], inner, rng)
        head = CANDIDATES[_best(_compared(features[~out], labels[~out], within), labels[~out])]
        fitted = clone(head).fit(features[~out], labels[~out])
        right[out] = fitted.predict(features[out]) == labels[out]
    logits = _compared(features, labels, fold)
    name, n = _best(logits, labels), len(np.unique(groups))
    shares = {one: Share(_accuracy(found, labels), n) for one, found in logits.items()}
    temperature = fit_temperature(logits[name], labels)
    return Choice(name, Share(float(right.mean()), n), shares, temperature, CANDIDATES[name])


def _encoded(
    folder: str | Path, encoder: str, groups: ImageGroups | None, cache: str | Path, progress: bool | None
) -> tuple[ImageStore, Encoder, Floats, Ids]:
    """Return images, all to train on, an encoder whose adapter adds nothing, features, and groups."""
    source = find_frozen(encoder)
    size = int(source.recipe["size"][0])
    backbone = Adapted(encoder, width=1)
    frozen = Encoder(backbone).eval()
    frozen.build((source.channels, size, size))
    images = FolderSource(folder, "adapt", source.channels, UNDIVIDED, groups=groups)
    store = build_store(images, size, cache, progress=progress)
    alike = np.where(store.image_groups < 0, -1 - np.arange(len(store)), store.image_groups)
    _require_enough(store, alike, folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = build_features(frozen, store, [View(UPRIGHT)], Policies(), cache, device, progress)
    with torch.no_grad():
        features = backbone.adapted(FeatureCache.open(path).features[:, 0].float()).numpy()
    return store, frozen, features, alike


def _require_enough(store: ImageStore, groups: Ids, folder: str | Path) -> None:
    if len(store.class_names) < 2:
        raise ValueError(f"`{folder}` holds one class, `{store.class_names[0]}`; add a folder of another.")
    for number, name in enumerate(store.class_names):
        images = store.labels == number
        found = len(np.unique(groups[images]))
        if found < _LEAST:
            alone = found == images.sum()
            raise ValueError(
                f"class `{name}` of `{folder}` has {found} {'images' if alone else 'groups of images'}, "
                f"leaving some out needs {_LEAST}; add {'images' if alone else 'groups'}, or classify with "
                f"what there is: `psst classify {folder} NEW_IMAGES --encoder ENCODER`."
            )


def _shown(parts: Sequence[int], progress: bool | None) -> Iterator[int]:
    with bar("parts left out", sys.stderr.isatty() if progress is None else progress) as show:
        for done, part in enumerate(parts):
            show(done, len(parts))
            yield part


def _turned(features: Floats) -> npt.NDArray[np.float64]:
    """Return features in as many dimensions as they span, ``[n, min(n, D)]``: distances stay as they are."""
    exact = features.astype(np.float64)
    if exact.shape[0] >= exact.shape[1]:
        return exact
    return np.linalg.qr(exact.T)[1].T


def _parts(labels: Ids, groups: Ids, count: int, rng: np.random.Generator) -> Ids:
    """Return which part each image is left out with: groups whole, every class spread over all parts.

    The largest groups are placed first, each where its class, and then all, have fewest images so far.
    """
    classes = np.unique(labels)
    alike = {one: np.unique(groups[labels == one], return_counts=True) for one in classes}
    count = min(count, max(len(names) for names, _ in alike.values()))
    total, place = np.zeros(count, int), dict[int, int]()
    for names, sizes in alike.values():
        own = np.zeros(count, int)
        order = rng.permutation(len(names))
        for at in order[np.argsort(-sizes[order], kind="stable")]:
            part = place.setdefault(int(names[at]), int(np.lexsort((total, own))[0]))
            own[part] += sizes[at]
            total[part] += sizes[at]
        if own.max() == own.sum():
            raise ValueError(
                "groups of images that span several classes leave a class nothing to learn from; name "
                "smaller groups, or none."
            )
    return np.array([place[int(group)] for group in groups])


def _compared(features: Floats, labels: Ids, fold: Ids) -> dict[str, npt.NDArray[np.float64]]:
    """Return each candidate's logits ``[n, N]`` of images that it was not trained on."""
    found = {name: np.zeros((len(labels), labels.max() + 1)) for name in CANDIDATES}
    for part in range(fold.max() + 1):
        out = fold == part
        for name, head in CANDIDATES.items():
            fitted = clone(head).fit(features[~out], labels[~out])
            found[name][out] = fitted.logits(features[out])
    return found


def _accuracy(logits: npt.NDArray[np.float64], labels: Ids) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def _best(logits: dict[str, npt.NDArray[np.float64]], labels: Ids) -> str:
    return max(logits, key=lambda name: _accuracy(logits[name], labels))
