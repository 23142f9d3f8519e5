"""A classifier of new classes from a few examples each: an exported encoder and a head, without Lightning."""

import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from psst import __version__
from psst.backbones import Encoder
from psst.backbones.exported import load_encoder, read_config, write_encoder
from psst.components import describe, instantiate
from psst.deploy.feature_classifier import FeatureClassifier
from psst.fewshot import Head, PrototypicalHead
from psst.files import atomic_folder, read_json, read_npz, write_json, write_npz
from psst.images.decode import decode_image, fit_image, to_pillow
from psst.images.files.paths import printable
from psst.waiting import bar

_FORMAT = 1
_ABOUT, _SUPPORT = "classifier.json", "support.npz"
_AT_ONCE = 64  # images that are encoded together
_AGAIN = "save the classifier again"
_Labels = npt.NDArray[np.str_]


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped in scikit-learn
    """Classifies images by a few labeled examples, with the habits of scikit-learn's estimators.

    Images are paths, Pillow images, or arrays and tensors ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; each is
    turned, cut to its centered square and resized as in training.

    Args:
        encoder: A folder that ``psst export`` wrote, or an encoder.
        head: Classifies features; the nearest mean by cosine if None.
        temperature: Divides the logits before the softmax. None takes what ``psst export --calibrate`` found
            for the encoder and the head that is used if `head` is None; without that, probabilities are
            uncalibrated, and a warning says so.
        unknown: An image whose largest probability is below it is called ``unknown``; 0 for never.

    Attributes:
        classes_: ``[N]`` names of the classes, sorted.
        n_examples_: Number of examples.
        labels_: ``[n_examples_]`` name of the class of each.
        examples_: ``[n_examples_]`` paths of them as they were given; "" for what came as pixels.

    Raises:
        ValueError: `temperature` is not above 0, or `unknown` not in [0, 1); when it is fitted.

    Example:
        >>> classifier = FewShotClassifier("encoder").fit("examples")  # a folder a class
        >>> classifier.predict(["new.jpg"])
        array(['cup'], dtype='<U3')
    """

    def __init__(
        self,
        encoder: str | Path | Encoder,
        head: Head | FeatureClassifier | None = None,
        temperature: float | None = None,
        unknown: float = 0.0,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.temperature = temperature
        self.unknown = unknown

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "FewShotClassifier":
        """Return what `save` wrote, or an unfitted classifier of the encoder that ``psst export`` wrote.

        Raises:
            FileNotFoundError: The folder holds neither.
            ValueError: A file is damaged or of another format.
        """
        folder = Path(folder)
        if not (folder / _ABOUT).is_file():
            load_encoder(folder)
            return cls(str(folder))
        about = read_json(folder / _ABOUT, _FORMAT, f"the classifier `{folder}`", _AGAIN)
        arrays = read_npz(folder / _SUPPORT, _FORMAT, f"the examples `{folder / _SUPPORT}`", _AGAIN)
        head = instantiate(about["head"], FeatureClassifier)
        made = cls(str(folder), head, about["temperature"], about["unknown"])
        names = np.array(about["classes"])[arrays["labels"]]
        return made.fit_features(arrays["features"], names, about.get("examples"))

    def save(self, folder: str | Path) -> Path:
        """Write encoder, head and examples to a new folder, whole or not at all, for `from_pretrained`.

        Raises:
            FileExistsError: The folder exists and holds something.
            NotFittedError: There are no examples.
        """
        self._require_fitted()
        folder = require_new(folder)
        about = {
            "head": describe(self._unfitted()),
            "temperature": self.temperature_,
            "unknown": self.unknown,
            "classes": self.classes_.tolist(),
            "examples": self.examples_,
        }
        with atomic_folder(folder) as new:
            write_encoder(self._network(), new, __version__)
            write_npz(new / _SUPPORT, {"features": self._features, "labels": self._labels}, _FORMAT)
            write_json(new / _ABOUT, about, _FORMAT)
        return folder

    def fit(self, images: Any, labels: Sequence[str] | None = None) -> "FewShotClassifier":
        """Take the examples of all classes.

        Args:
            images: A folder with a folder a class, or images.
            labels: One a image; None for a folder.

        Raises:
            ValueError: There are fewer than two classes, or not one label an image.
        """
        return self.fit_features(*self._examples(images, labels))

    def fit_features(
        self, features: npt.NDArray[np.float32], labels: Any, examples: Sequence[str] | None = None
    ) -> "FewShotClassifier":
        """Take features ``[n, D]`` of the encoder in place of images, which lie at `examples`; as `fit`."""
        if not (self.temperature is None or self.temperature > 0) or not 0 <= self.unknown < 1:
            raise ValueError(
                f"`temperature={self.temperature}` must be above 0 and `unknown={self.unknown}` in [0, 1)."
            )
        self._features, names = features, np.array([str(label) for label in labels])
        self._fitted = self._unfitted().fit(features, names)
        self.labels_ = names
        self.classes_, self._labels = np.unique(names, return_inverse=True)
        self.n_examples_ = len(names)
        self.examples_ = list(examples or [""] * len(names))
        return self

    def partial_fit(self, images: Any, labels: Sequence[str] | None = None) -> "FewShotClassifier":
        """Add examples, of new classes or known ones; as `fit` for the first."""
        if not hasattr(self, "classes_"):
            return self.fit(images, labels)
        features, names, paths = self._examples(images, labels)
        features = np.concatenate([self._features, features])
        return self.fit_features(features, [*self.labels_, *names], [*self.examples_, *paths])

    def nearest(self, images: Any, count: int = 3) -> npt.NDArray[np.int64]:
        """Return numbers ``[n, count]`` of the examples most like each image, by cosine from their mean."""
        self._require_fitted()
        features, mean = embed_images(self._network(), _listed(images)), self._features.mean(axis=0)
        likeness = normalize(features - mean) @ normalize(self._features - mean).T
        return np.argsort(-likeness, axis=1, kind="stable")[:, :count]

    def decision_function(self, images: Any) -> npt.NDArray[np.float64]:
        """Return the head's logits ``[n, N]``."""
        self._require_fitted()
        return self._fitted.logits(embed_images(self._network(), _listed(images)))

    def predict_proba(self, images: Any) -> npt.NDArray[np.float64]:
        """Return probabilities ``[n, N]`` of the classes, in the order of `classes_`."""
        if self.temperature_ is None:
            warnings.warn(
                "uncalibrated: the classifier knows no temperature; set `temperature`, or find one with "
                "`psst export --calibrate CONFIG` or `psst adapt`.",
                stacklevel=2,
            )
        logits = self.decision_function(images) / (self.temperature_ or 1.0)
        return np.asarray(softmax(logits, axis=1))

    def predict(self, images: Any) -> _Labels:
        """Return the name of the class of each image, ``[n]``; ``unknown`` below that probability."""
        if self.unknown:
            return self.named(self.predict_proba(images))
        return np.asarray(self.classes_[self.decision_function(images).argmax(axis=1)])

    def named(self, probabilities: npt.NDArray[np.float64]) -> _Labels:
        """Return the names that `predict` gives for probabilities ``[n, N]``."""
        names = self.classes_[probabilities.argmax(axis=1)]
        return np.where(probabilities.max(axis=1) < self.unknown, "unknown", names)

    def _unfitted(self) -> FeatureClassifier:
        if isinstance(self.head, FeatureClassifier):
            return FeatureClassifier(**self.head.get_params(deep=False))
        return FeatureClassifier(PrototypicalHead("cosine") if self.head is None else self.head)

    @property
    def temperature_(self) -> float | None:
        """What divides the logits: `temperature`, or that of the export, which is for the usual head."""
        if self.temperature is not None or self.head is not None or isinstance(self.encoder, Encoder):
            return self.temperature
        stored: float | None = read_config(Path(self.encoder)).get("temperature")
        return stored

    def _examples(
        self, images: Any, labels: Sequence[str] | None
    ) -> tuple[npt.NDArray[np.float32], Sequence[str], list[str]]:
        if labels is None:
            images, labels = _class_folders(Path(images))
        listed = _listed(images)
        if len(listed) != len(labels):
            raise ValueError(f"`labels` must be one an image, found {len(labels)} for {len(listed)} images.")
        paths = [printable(str(one)) if isinstance(one, str | Path) else "" for one in listed]
        return embed_images(self._network(), listed), labels, paths

    def _network(self) -> Encoder:
        given = self.encoder
        return given if isinstance(given, Encoder) else _loaded(str(Path(given).resolve()))

    def _require_fitted(self) -> None:
        check_is_fitted(self, "classes_", msg="the classifier has no examples; call `fit` first.")


def embed_images(encoder: Encoder, images: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Return features ``[n, D]`` of images as `FewShotClassifier` takes them, made where the encoder is."""
    channels, size, _ = encoder.image_shape or (3, 0, 0)
    found = [np.zeros((0, encoder.num_features), np.float32)]
    with bar("images") as show, torch.no_grad():
        for start in range(0, len(images), _AT_ONCE):
            pixels = np.stack([_pixels(image, size, channels) for image in images[start : start + _AT_ONCE]])
            planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
            found.append(encoder(planes.to(encoder.mean.device)).float().cpu().numpy())
            show(start + len(pixels), len(images))
    return np.concatenate(found)


def require_new(folder: str | Path, typed: str = "folder=", advice: str = "name a new folder") -> Path:
    """Return the path of a folder that is to be made; FileExistsError if it holds something."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"`{typed}{folder}` exists and is not empty; {advice}.")
    return folder


def image_files(path: Path) -> list[Path]:
    """Return the image files of a folder and those in it, by name; a file is itself.

    Raises:
        FileNotFoundError: There is no such file or folder, or no image in it.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise FileNotFoundError(f"`{path}` does not exist; give an image, or a folder of images.")
    endings = Image.registered_extensions()
    found = sorted(one for one in path.rglob("*") if one.suffix.lower() in endings and one.is_file())
    if not found:
        raise FileNotFoundError(f"`{path}` holds no image; give an image, or a folder of images.")
    return found


def _class_folders(folder: Path) -> tuple[list[Path], list[str]]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`images={folder}` must be a folder with a folder a class, or give `labels`."
        )
    parts = [
        (path, one.name) for one in sorted(folder.iterdir()) if one.is_dir() for path in image_files(one)
    ]
    if not parts:
        raise FileNotFoundError(f"`{folder}` holds no folder; give a folder with a folder a class.")
    return [path for path, _ in parts], [name for _, name in parts]


def _listed(images: Any) -> list[Any]:
    """One image, or several, as a list."""
    if isinstance(images, str | Path):
        return list(image_files(Path(images)))
    if isinstance(images, Image.Image) or (
        hasattr(images, "ndim") and images.ndim < 4 and images.shape[-1] != 0
    ):
        return [images]
    return list(images) if isinstance(images, Iterable) else [images]


def _pixels(image: Any, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """``[size, size, C]``, as the stores of training have it."""
    if isinstance(image, str | Path):
        return decode_image(Path(image).read_bytes(), str(image), size, channels)
    return fit_image(to_pillow(image), size, channels)


_loaded = lru_cache(maxsize=4)(load_encoder)  # by path
