"""Print what several searches (one a seed) say together, over seeds and classes.

    python benchmarks/seeds.py runs/omniglot-0 runs/omniglot-1 runs/omniglot-2

Each folder is the output of one `psst search` with its own `--seed_everything`. Differences are test
accuracies on the same episodes, in points. Their interval resamples seeds and, within each, classes: a seed
is drawn, and its difference with the error over the draw of its classes and episodes (a class jackknife).
Nothing is called better or worse with fewer than 5 seeds.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from psst.evaluation import class_difference, load_scores

DRAWS = 10_000
LEAST = 5


def main(folders: list[Path]) -> None:
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    names = [name for name in runs[0]["candidates"] if all(name in run["candidates"] for run in runs)]
    print(f"| run | {' | '.join(names)} | handed over | passes in all |")
    print("|---|" + "---|" * (len(names) + 2))
    for folder, run in zip(folders, runs, strict=True):
        cells = [
            f"{run['candidates'][name]['test']:.2f} ({run['candidates'][name]['model']})" for name in names
        ]
        handed = run["handed_over"]
        print(f"| {folder.name} | {' | '.join(cells)} | {handed} | {run['total_passes']:.0f} |")
    means = [np.mean([run["candidates"][name]["test"] for run in runs]) for name in names]
    passes = [np.mean([run["candidates"][name]["passes"] for run in runs]) for name in names]
    handed = np.mean([run["candidates"][run["handed_over"]]["test"] for run in runs])
    print(f"| mean | {' | '.join(f'{mean:.2f}' for mean in means)} | {handed:.2f} | |")
    print(f"| passes | {' | '.join(f'{count:.0f}' for count in passes)} | | |")
    for one in ("search", "handed_over"):
        for other in [name for name in names if name != "search"]:
            print(difference(folders, runs, one, other))


def difference(folders: list[Path], runs: list[dict], one: str, other: str) -> str:
    """Mean over seeds of one final minus another, with its interval over seeds and classes."""
    pairs = []
    for folder, run in zip(folders, runs, strict=True):
        names = [run["handed_over"] if name == "handed_over" else name for name in (one, other)]
        pairs.append([folder / "units" / unit_of(folder, name) for name in names])
    gaps, low, high = resampled(pairs)
    verdict = (
        "too few seeds"
        if len(gaps) < LEAST
        else "better"
        if low > 0
        else "worse"
        if high < 0
        else "undecided"
    )
    each = ", ".join(f"{gap:+.2f}" for gap in gaps)
    return f"{one} - {other}: {np.mean(gaps):+.2f} ({low:+.2f} to {high:+.2f}; {verdict}); a seed: {each}"


def resampled(pairs: Iterable[Sequence[Path]]) -> tuple[list[float], float, float]:
    """Differences in points of pairs of tested models, by their folders, and the 95% interval of the mean.

    It draws pairs and, by the error of each over its classes and episodes, the classes within them.
    """
    found = [class_difference(*(load_scores(one / "test_scores.npz") for one in pair)) for pair in pairs]
    gaps, errors = (
        np.array([100 * one for one in row])
        for row in zip(*((g.mean, g.half_width / 2) for g in found), strict=True)
    )
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(gaps), size=(DRAWS, len(gaps)))
    means = (gaps[drawn] + rng.normal(size=drawn.shape) * errors[drawn]).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return gaps.tolist(), float(low), float(high)


def unit_of(folder: Path, name: str) -> str:
    rows = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    return next(row["unit"] for row in rows if name in row["final_of"].split())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(argument) for argument in sys.argv[1:]])
