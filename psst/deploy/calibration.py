"""Probabilities that can be believed: one temperature, found on data that the classifier has not seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from psst.backbones.exported import CONFIG, FORMAT, load_encoder, read_config
from psst.episodes import EpisodeSampler
from psst.fewshot import PrototypicalHead
from psst.files import write_json
from psst.images.store import ImageStore
from psst.tasks.finished import read_checkpoint

__all__ = ["Calibration", "calibrate_export", "calibration_error", "fit_temperature"]

_BOUNDS = (-7.0, 7.0)  # of the temperature's logarithm
_BINS = 15
_AT_ONCE = 64  # images that are encoded, and episodes that are classified, together
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What was found for an export.

    Attributes:
        temperature: Divides the logits.
        split: Whose classes it was found on.
        error: Expected calibration error there, in [0, 1], before and after.

    Example:
        >>> Calibration(0.5, "val", (0.12, 0.01)).split
        'val'
    """

    temperature: float
    split: str
    error: tuple[float, float]


def fit_temperature(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    r"""Return the temperature T > 0 with the least cross-entropy of :math:`\mathrm{softmax}(z / T)`.

    The true class has the target (n + 1) / (n + 2), the others share the rest: n images without a mistake do
    not make certain.

    Args:
        logits: z, ``[n, N]``.
        labels: ``[n]``, in [0, N).

    References:
        Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, 2017 (arXiv:1706.04599).
        The targets are those of Platt, Probabilistic Outputs for Support Vector Machines, 1999.
    """
    n, count = logits.shape
    targets = np.full((n, count), 1 / (n + 2) / (count - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=_BOUNDS, method="bounded").x))


def calibration_error(probabilities: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Return the expected calibration error, in [0, 1], over 15 bins of equal width.

    Args:
        probabilities: ``[n, N]``.
        labels: ``[n]``, in [0, N).

    References:
        Naeini, Cooper, Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.
    """
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(sure))


def calibrate_export(folder: Path, checkpoint: Path, config: str) -> Calibration:
    """Find the temperature of an export on episodes of classes it was not trained on, and store it there.

    It belongs to the nearest mean by cosine, the usual head of `FewShotClassifier`, and to episodes as the
    run evaluates them.

    Args:
        folder: Of the export.
        checkpoint: That it was made of; it knows the classes of its training.
        config: A file or a shipped name; its data are read.

    Raises:
        TypeError: The data have no episodes.
        ValueError: The model was trained on validation and test classes, or on images of another shape.
    """
    from psst.datamodules import EpisodicDataModule
    from psst.training.experiment import Experiment

    data = Experiment(["--config", config], needs_model=False).datamodule()
    if not isinstance(data, EpisodicDataModule):
        raise TypeError(f"`--calibrate {config}` has {type(data).__name__} as data, which has no episodes.")
    data.prepare_data()
    data.setup("validate")
    trained = set(read_checkpoint(checkpoint)["hyper_parameters"]["classes"] or ())
    split = _unseen(data.store, trained, config)
    (sampler, *_) = data.episode_plan(split).values()
    logits, labels = episode_logits(folder, data.store, sampler, data.eval_episodes(split))
    temperature = fit_temperature(logits, labels)
    before, after = (calibration_error(softmax(logits / t, axis=1), labels) for t in (1.0, temperature))
    write_json(folder / CONFIG, {**read_config(folder), "temperature": temperature}, FORMAT)
    return Calibration(temperature, split, (before, after))


def episode_logits(
    folder: Path, store: ImageStore, sampler: EpisodeSampler, count: int, known: int | None = None
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return logits ``[n, N]`` of all queries of `count` episodes, and their classes ``[n]``.

    Args:
        folder: Of an export.
        store: Of the images.
        sampler: Of the episodes.
        count: How many.
        known: N; queries of an episode's further classes are there all the same. None for all classes.
    """
    known = known or sampler.n_way
    encoder, ids, head = load_encoder(folder), np.unique(sampler.image_ids), PrototypicalHead("cosine")
    labels = torch.arange(known).repeat_interleave(sampler.n_shot)
    found = []
    with torch.no_grad():
        parts = np.split(ids, range(_AT_ONCE, len(ids), _AT_ONCE))
        features = torch.cat([encoder(torch.from_numpy(store.read(part))) for part in parts])
        for start in range(0, count, _AT_ONCE):
            drawn = sampler.draw(start, min(_AT_ONCE, count - start))
            support, query = (
                features[np.searchsorted(ids, part)].flatten(1, 2)
                for part in (drawn.support[:, :known], drawn.query)
            )
            found.append(head(support, labels.expand(len(support), -1), query, known))
    logits = torch.cat(found).double().numpy()
    classes = np.arange(sampler.n_way).repeat(sampler.n_query)
    return logits.reshape(-1, known), np.tile(classes, len(logits))


def _unseen(store: ImageStore, trained: set[str], config: str) -> Literal["val", "test"]:
    """Return the split none of whose classes was trained on."""
    for split in ("val", "test"):
        if not trained & {store.class_names[one] for one in store.splits[split]}:
            return split
    raise ValueError(
        f"`--calibrate {config}`: the model was trained on validation and test classes of these data; name "
        "the config of its run."
    )
