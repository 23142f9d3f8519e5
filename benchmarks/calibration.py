"""What the probabilities of an exported encoder are worth on test classes, with the temperature it keeps.

psst export RUN/best.ckpt --output encoder --calibrate RUN/config.yaml
python benchmarks/calibration.py encoder RUN/config.yaml

Prints the calibration error with and without it, on test episodes; and how well queries of as many further
classes are told from those of known ones by their largest probability.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from psst.backbones.exported import read_config
from psst.deploy.calibration import calibration_error, encoded_logits, episodes_of
from psst.episodes import EpisodeSampler
from psst.randomness import stream_key


def main(folder: Path, config: str) -> None:
    """Print all figures."""
    torch.set_num_threads(1)
    data = episodes_of(config)
    temperature, count = read_config(folder)["temperature"], data.eval_episodes("test")
    (sampler, *_) = data.episode_plan("test").values()
    way, shot = sampler.n_way, sampler.n_shot
    logits, labels = encoded_logits(folder, data.store, sampler, count)
    print(f"{count} test episodes, {way}-way {shot}-shot, temperature {temperature:.3g}")
    right = (logits.argmax(axis=1) == labels).mean()
    errors = [calibration_error(logits / t, labels) for t in (temperature, 1.0)]
    print(f"accuracy {100 * right:.2f} %, calibration error {100 * errors[0]:.2f} %", end="")
    print(f", without temperature {100 * errors[1]:.2f} %")
    classes = data.store.splits["test"]
    known = min(way, len(classes) // 2)
    key = stream_key(data.seed, "unknown classes")
    wide = EpisodeSampler.of(data.store, classes, 2 * known, shot, sampler.n_query, key, data.seed)
    logits, labels = encoded_logits(folder, data.store, wide, count)
    sure = softmax(logits[:, :known] / temperature, axis=1).max(axis=1)  # of a class whatever the others are
    print(f"AUROC of {known} further classes against {known} known ones {_auroc(labels < known, sure):.3f}")


def _auroc(known: np.ndarray, sure: np.ndarray) -> float:
    return float(roc_auc_score(known, sure))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("config")
    options = parser.parse_args()
    main(options.folder, options.config)
