"""Is the figure of `psst adapt` honest: draws of few classes and images, held against the images left aside.

python benchmarks/adapt.py FOLDER [--encoder efficientnet-lite0] [--draws 50] [--pattern '([^_]*)_']

Each draw takes so many classes and images of a folder with a folder a class, chooses and trains as the
command does, and classifies what is left of these classes. With a pattern, groups are whole on both sides.
Printed besides: the figure of the head that looked best, which flatters; calibration on the images left
aside; images of one further class told from known ones by their largest probability; what one image costs
beside the encoder.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy import stats
from scipy.special import softmax
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from psst.deploy import FewShotClassifier
from psst.deploy.adapt import _encoded, _share, choose_head
from psst.deploy.calibration import calibration_error
from psst.images.sources.groups import ImageGroups

BUDGET_POINTS, BUDGET_SECONDS, BUDGET_FORWARDS = 1.0, 60.0, 2.0


def taken(ids: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator) -> tuple:
    """Images of a class in random order, group by group: the first `count`, and those of untouched groups."""
    order = rng.permutation(np.unique(groups[ids]))
    ids = np.concatenate([rng.permutation(ids[groups[ids] == group]) for group in order])
    first = ids[:count]
    return first, ids[~np.isin(groups[ids], groups[first])]


def agree(*shares: tuple[float, float, float]) -> bool:
    """Whether 0 lies in Newcombe's interval of a difference, made of both Wilson intervals."""
    (less, _, up), (more, down, _) = sorted(shares)
    return more - less <= np.hypot(more - down, up - less)


def draws(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, options: argparse.Namespace
) -> dict[str, list[float]]:
    """One figure a draw and name."""
    found: dict[str, list[float]] = {}
    pairs, truths, sure, known = [], [], [], []
    for seed in range(options.draws):
        rng = np.random.default_rng(seed)
        *classes, other = rng.permutation(labels.max() + 1)[: options.classes + 1]
        parts = [taken(np.flatnonzero(labels == one), groups, options.images, rng) for one in classes]
        train, aside = (np.concatenate(ids) for ids in zip(*parts, strict=True))
        if not all(len(rest) for _, rest in parts):
            print(f"draw {seed}: nothing of a class is left aside")
            continue
        begun = time.perf_counter()
        choice = choose_head(features[train], labels[train], groups[train], seed)
        seconds = time.perf_counter() - begun
        head = clone(choice.head).fit(features[train], labels[train])
        told = head.predict(features[aside]) == labels[aside]
        left = _share(told, len(np.unique(groups[aside])))
        one = {"nested": 100 * choice.nested[0], "aside": 100 * left[0], "seconds": seconds}
        one |= {
            "best": 100 * choice.candidates[choice.name][0],
            "agree": agree(choice.nested, left),
        }
        for name, value in one.items():
            found.setdefault(name, []).append(value)
        for ids, is_known in ((aside, True), (np.flatnonzero(labels == other), False)):
            logits = head.logits(features[ids]) / choice.temperature
            sure += softmax(logits, axis=1).max(axis=1).tolist()
            known += [is_known] * len(ids)
            if is_known:
                pairs.append(np.stack([logits, choice.temperature * logits]))
                truths.append(np.searchsorted(head.classes_, labels[ids]))
    after, before = np.concatenate(pairs, axis=1)
    truth = np.concatenate(truths)
    found["ece before"], found["ece"] = [calibration_error(before, truth)], [calibration_error(after, truth)]
    return found | {"unknown": [roc_auc_score(known, sure)], "images": [len(truth)]}


def forwards(classifier: FewShotClassifier, side: int, repeats: int) -> float:
    """How many forwards of the encoder one image in memory takes, medians of interleaved repeats."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    encoder = classifier.encoder

    def seconds(work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    with torch.no_grad():
        pairs = [
            (seconds(lambda: classifier.predict(image)), seconds(lambda: encoder(batch)))
            for _ in range(repeats)
        ]
    return median(one for one, _ in pairs) / median(two for _, two in pairs)


def main(options: argparse.Namespace) -> bool:
    """Print all figures; whether they are within their budgets."""
    torch.set_num_threads(1)
    grouping = ImageGroups(pattern=options.pattern) if options.pattern else None
    store, encoder, features, groups, _ = _encoded(options.folder, options.encoder, grouping, options.cache)
    found = draws(features, store.labels, groups, options)
    gap = np.subtract(found["nested"], found["aside"])
    mean, half = gap.mean(), stats.t.ppf(0.975, len(gap) - 1) * stats.sem(gap)
    averages = {name: float(np.mean(values)) for name, values in found.items()}
    many = len(gap)
    print(f"{options.folder.name}: {many} draws of {options.classes} classes with {options.images} images")
    print(f"nested {averages['nested']:.2f} %, on images left aside {averages['aside']:.2f} %")
    print(f"nested - aside {mean:+.2f} +- {half:.2f} points, at most {BUDGET_POINTS}")
    print(f"best of the heads - aside {averages['best'] - averages['aside']:+.2f} points")
    print(f"the 95 % interval of their difference holds 0 in {100 * averages['agree']:.0f} % of the draws")
    print(
        f"choosing and training {median(found['seconds']):.1f} s, the longest {max(found['seconds']):.1f} s"
    )
    print(
        f"calibration error on {averages['images']:.0f} images aside: {100 * averages['ece']:.2f} %", end=""
    )
    print(f", without temperature {100 * averages['ece before']:.2f} %")
    print(f"AUROC of images of a further class against known ones {averages['unknown']:.3f}")
    two = np.flatnonzero(store.labels < 2)
    classifier = FewShotClassifier(encoder).fit_features(features[two], store.labels[two])
    ratio = forwards(classifier, store.image_shape[1], 30)
    print(f"one image {ratio:.2f} forwards of the encoder, at most {BUDGET_FORWARDS}")
    within = abs(mean) <= BUDGET_POINTS and max(found["seconds"]) <= BUDGET_SECONDS
    return bool(within and ratio <= BUDGET_FORWARDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--pattern")
    parser.add_argument("--cache", default=".psst")
    raise SystemExit(not main(parser.parse_args()))
