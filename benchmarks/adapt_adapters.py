"""Would an adapter trained on the user's own images be ahead of the heads that `psst adapt` compares?

python benchmarks/adapt_adapters.py FOLDER [--encoder efficientnet-lite0] [--draws 20] [--pattern '(.*)_']

Draws of two classes with so many images, as `benchmarks/adapt.py` makes them. Behind the frozen features lies
a residual adapter u + W2 max(0, W1 u + b1) + b2 with a classifier by cosine, both trained by cross-entropy
(AdamW, cosine schedule, all images in every step). The nested figure is that of `psst adapt`: for each part
that is left out, the best on parts left out of the rest. All parts are trained in one batch.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from adapt import taken
from scipy import stats
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional as F

from psst.deploy.adapt import _CANDIDATES, _encoded, _parts
from psst.images.sources.groups import ImageGroups

SCALE = 10.0
ADAPTERS = {  # width, steps, learning rate, weight decay, dropout
    "60 steps": (64, 60, 3e-3, 0.1, 0.0),
    "200 steps": (64, 200, 1e-3, 0.1, 0.0),
    "200 steps, dropout": (64, 200, 3e-3, 1.0, 0.5),
}


def trained(features: Tensor, labels: Tensor, masks: Tensor, name: str, seed: int) -> np.ndarray:
    """Logits ``[B, n, N]`` of all images, trained on those of each mask ``[B, n]`` alone."""
    width, steps, rate, decay, dropout = ADAPTERS[name]
    draws, (parts, n), size = torch.Generator().manual_seed(seed), masks.shape, features.shape[1]
    each = masks[:, :, None] * F.one_hot(labels)
    each = each / each.sum(1, keepdim=True)
    center = torch.einsum("bin,id->bnd", each, features).mean(1, keepdim=True)
    given = SCALE * F.normalize(features - center, dim=2)
    reduce = ((2 * torch.rand(size, width, generator=draws) - 1) / size**0.5).expand(parts, -1, -1)
    means = F.normalize(torch.einsum("bin,bid->bnd", each, given), dim=2)
    begun = [reduce, torch.zeros(parts, 1, width), torch.zeros(parts, width, size)]
    begun += [torch.zeros(parts, 1, size), SCALE * means]
    w1, b1, w2, b2, classifier = parameters = [tensor.clone().requires_grad_() for tensor in begun]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def logits(share: float) -> Tensor:
        hidden = torch.relu(torch.baddbmm(b1, given, w1))
        hidden = hidden * (torch.rand(hidden.shape, generator=draws) >= share) / (1 - share)
        return F.normalize(given + torch.baddbmm(b2, hidden, w2), dim=2) @ classifier.mT

    for _ in range(steps):
        optimizer.zero_grad()
        losses = F.cross_entropy(logits(dropout).flatten(0, 1), labels.repeat(parts), reduction="none")
        ((losses.view(parts, n) * masks).sum(1) / masks.sum(1)).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return logits(0.0).numpy()


def heads(features: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Logits ``[n, N]`` of all images by each head, fitted to those of a mask."""
    fitted = {name: clone(head).fit(features[mask], labels[mask]) for name, head in _CANDIDATES.items()}
    return {name: head.logits(features) for name, head in fitted.items()}


def one_draw(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n: int, seed: int) -> dict:
    """Figures of the first n images, nested, and of the others, aside."""
    part = _parts(labels[:n], groups[:n], 10, seed)
    masks, tests = [], []
    for out in (part == number for number in range(part.max() + 1)):
        within = np.full(n, -1)
        within[~out] = _parts(labels[:n][~out], groups[:n][~out], 5, seed)
        masks += [~out & (within != number) for number in range(within.max() + 1)] + [~out]
        tests += [within == number for number in range(within.max() + 1)] + [out]
    flat = np.linalg.qr(features.T)[1].T if len(features) < features.shape[1] else features
    known, given = torch.from_numpy(labels), torch.from_numpy(flat).float()
    begun = time.perf_counter()
    inside = torch.from_numpy(np.array(masks)).float()
    found = {name: trained(given[:n], known[:n], inside, name, seed) for name in ADAPTERS}
    seconds = (time.perf_counter() - begun) / len(ADAPTERS)
    for name in _CANDIDATES:
        found[name] = np.empty((len(masks), n, int(labels.max()) + 1))
    for number, mask in enumerate(masks):
        for name, logits in heads(flat[:n], labels[:n], mask).items():
            found[name][number] = logits
    right = {name: logits.argmax(axis=2) == labels[:n] for name, logits in found.items()}
    every = np.arange(len(labels)) < n
    apart = heads(flat, labels, every)
    whole = torch.from_numpy(every[None]).float()
    apart |= {name: trained(given, known, whole, name, seed)[0] for name in ADAPTERS}
    told = {name: (logits.argmax(axis=1) == labels)[n:].mean() for name, logits in apart.items()}

    def figures(names: Sequence[str]) -> tuple[float, float]:
        nested, last, counts = 0, 0, dict.fromkeys(names, 0)
        sums = dict.fromkeys(names, 0)
        for number, test in enumerate(tests):
            if masks[number].sum() + test.sum() < n:  # a part within the rest
                counts = {name: counts[name] + int(right[name][number][test].sum()) for name in names}
                continue
            best = max(names, key=counts.__getitem__)
            nested += int(right[best][number][test].sum())
            sums = {name: sums[name] + int(right[name][number][test].sum()) for name in names}
            counts, last = dict.fromkeys(names, 0), number
        assert last == len(tests) - 1
        return 100 * nested / n, 100 * told[max(names, key=sums.__getitem__)]

    kinds = {"heads": [*_CANDIDATES], "adapters": [*ADAPTERS], "both": [*_CANDIDATES, *ADAPTERS]}
    pairs = {kind: figures(names) for kind, names in kinds.items()}
    row = {f"nested, {kind}": nested for kind, (nested, _) in pairs.items()}
    return row | {f"aside, {kind}": aside for kind, (_, aside) in pairs.items()} | {"seconds": seconds}


def main(options: argparse.Namespace) -> None:
    """Print means over draws, and paired differences to the heads alone."""
    torch.set_num_threads(1)
    grouping = ImageGroups(pattern=options.pattern) if options.pattern else None
    store, _, features, groups, _ = _encoded(options.folder, options.encoder, grouping, options.cache)
    rows = []
    for seed in range(options.draws):
        rng = np.random.default_rng(seed)
        classes = np.sort(rng.permutation(store.labels.max() + 1)[:2])
        parts = [taken(np.flatnonzero(store.labels == one), groups, options.images, rng) for one in classes]
        if not all(len(rest) for _, rest in parts):
            print(f"draw {seed}: nothing of a class is left aside")
            continue
        ids = np.concatenate([ids for side in zip(*parts, strict=True) for ids in side])
        labels = np.searchsorted(classes, store.labels[ids])
        n = sum(len(first) for first, _ in parts)
        rows.append(one_draw(features[ids].astype(np.float64), labels, groups[ids], n, seed))
    print(f"{options.folder.name}: {len(rows)} draws of two classes with {options.images} images")
    for name in rows[0]:
        print(f"{name:<20}{np.mean([row[name] for row in rows]):8.2f}")
    for name in ("nested, adapters", "nested, both", "aside, adapters", "aside, both"):
        gaps = [row[name] - row[f"{name.split(',')[0]}, heads"] for row in rows]
        half = stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps)
        print(f"{name} - heads {np.mean(gaps):+.2f} +- {half:.2f} points")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--pattern")
    parser.add_argument("--cache", default=".psst")
    main(parser.parse_args())
