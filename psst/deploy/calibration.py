"""Probabilities that can be believed: one temperature, found on data that the classifier has not seen."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from psst.backbones.exported import CONFIG, FORMAT, load_encoder, read_config
from psst.configs import find
from psst.deploy.card import CARD
from psst.deploy.classifier import embed_images
from psst.episodes import EpisodeSampler
from psst.evaluation import episode_logits
from psst.fewshot import PrototypicalHead
from psst.files import write_atomic, write_json
from psst.images.store import ImageStore
from psst.tasks.finished import read_checkpoint

_BOUNDS = (-7.0, 7.0)  # of the temperature's logarithm
_Floats = npt.NDArray[np.float64]
_Ids = npt.NDArray[np.int64]


def fit_temperature(logits: _Floats, labels: _Ids) -> float:
    r"""Return the T > 0 with the least cross-entropy of :math:`\mathrm{softmax}(z / T)`, z ``[n, N]``.

    The true class has the target (n + 1) / (n + 2), the others share the rest: n images without a mistake do
    not make certain.

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


def calibration_error(logits: _Floats, labels: _Ids) -> float:
    """Return the expected calibration error of the softmax of logits ``[n, N]``, over 15 bins."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    known = torch.from_numpy(softmax(logits, axis=1)), torch.from_numpy(labels)
    return float(multiclass_calibration_error(*known, num_classes=logits.shape[1]))


def calibrate_export(folder: Path, checkpoint: Path, config: str) -> str:
    """Find the temperature of an export on episodes of classes not trained on, store it there, and say so.

    It belongs to the nearest mean by cosine, the usual head of `FewShotClassifier`, and to episodes as the
    run of `config` evaluates them; of several groups of classes the first counts. TypeError if the data have
    no episodes, ValueError if the model was trained on validation and test classes.
    """
    data = episodes_of(config)
    store, trained = data.store, set(read_checkpoint(checkpoint)["hyper_parameters"]["classes"])
    unseen = (s for s in ("val", "test") if not trained & {store.class_names[i] for i in store.splits[s]})
    split = next(unseen, None)
    if split is None:
        raise ValueError(
            f"`--calibrate {config}`: the model was trained on validation and test classes of these data; "
            "name the config of its run."
        )
    (sampler, *_) = data.episode_plan(split).values()
    logits, labels = encoded_logits(folder, store, sampler, data.eval_episodes(split))
    found = fit_temperature(logits, labels)
    write_json(folder / CONFIG, {**read_config(folder), "temperature": found}, FORMAT)
    before, after = (100 * calibration_error(logits / t, labels) for t in (1.0, found))
    told = f"temperature {found:.3g} from episodes of {split} classes: calibration error"
    told = f"{told} {before:.1f} % without, {after:.1f} % with it"
    card, limit = folder / CARD, "Probabilities are {}calibrated"
    text = card.read_text(encoding="utf-8")
    write_atomic(card, text.replace(limit.format("not "), f"{limit.format('')} ({told})"))
    return told


def episodes_of(config: str) -> Any:
    """Return the data of a run, ready to be evaluated on."""
    from psst.training.episode_evaluation import few_shot_data
    from psst.training.experiment import Experiment

    data = few_shot_data(Experiment(["--config", str(find(config))], needs_model=False).datamodule())
    data.prepare_data()
    data.setup("validate")
    return data


def encoded_logits(
    folder: Path, store: ImageStore, sampler: EpisodeSampler, count: int
) -> tuple[_Floats, _Ids]:
    """Return logits ``[n, N]`` of all queries of `count` episodes on an exported encoder, and labels."""
    encoder, ids = load_encoder(folder), np.unique(sampler.image_ids)
    features = torch.from_numpy(embed_images(encoder, [store.images[i] for i in ids]))
    logits = episode_logits(features, sampler, PrototypicalHead("cosine"), count, ids)
    answers = np.tile(np.arange(sampler.n_way).repeat(sampler.n_query), len(logits))
    return logits.flatten(0, 1).double().numpy(), answers
