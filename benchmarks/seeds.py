"""Print what several searches (one a seed) say together: fronts, differences per seed, their t-interval.

    python benchmarks/seeds.py runs/omniglot-0 runs/omniglot-1 runs/omniglot-2

Each folder is the output of one `psst search` with its own `--seed_everything`. Differences are test
accuracies of the chosen model minus a baseline's on the same episodes, in points, averaged over the groups of
classes where there are several. Nothing is called better or equal with fewer than 5 seeds.
"""

import json
import sys
from pathlib import Path

from psst.evaluation import compare_seeds


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main(folders: list[Path]) -> None:
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    print(
        "| run | chosen | accuracy of chosen per group, % | plain, % | best fixed weight on validation, % |"
    )
    print("|---|---|---|---|---|")
    for folder, run in zip(folders, runs, strict=True):
        cells = {name: describe(groups) for name, groups in run["test"].items()}
        fixed = next((name for name in cells if name.startswith("fixed-")), None)
        fixed_cell = f"{fixed}: {cells[fixed]}" if fixed else "-"
        row = [folder.name, run["chosen"], cells[run["chosen"]], cells.get("plain", "-"), fixed_cell]
        print(f"| {' | '.join(row)} |")
    for label, wanted in (("plain", "plain"), ("the best fixed weight", "fixed-")):
        gaps = [gap for run in runs if (gap := difference(run, wanted)) is not None]
        if gaps:
            each = ", ".join(f"{100 * gap:+.2f}" for gap in gaps)
            print(
                f"chosen minus {label}, points a seed: {each}; mean and 95 % t-interval {compare_seeds(gaps)}"
            )
    costs = [f"{run['cost']['steps']} steps in {run['cost']['seconds']:.0f} s" for run in runs]
    print(f"cost: {', '.join(costs)}")
    for folder in folders:
        print_front(folder)


def print_front(folder: Path) -> None:
    """The models of one search by validation: losses, main-task accuracy, marks."""
    rows = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    losses = [key for key in rows[0] if key.endswith("_loss")]
    print(f"\n{folder.name}:\n")
    print(f"| model | {' | '.join(key.replace('_', ' ') for key in losses)} | accuracy, % | |")
    print("|---|" + "---|" * (len(losses) + 2))
    for row in sorted(rows, key=lambda row: row[losses[-1]], reverse=True):
        words = {"on_front": "front", "in_region": "region", "chosen": "chosen"}
        marks = ", ".join(word for key, word in words.items() if row[key])
        cells = [
            row["name"],
            *(f"{row[key]:.3f}" for key in losses),
            f"{100 * row['val_accuracy']:.2f}",
            marks,
        ]
        print(f"| {' | '.join(cells)} |")


def describe(groups: dict) -> str:
    return ", ".join(
        f"{group} {scores['n_way']}-way {100 * scores['accuracy']:.2f} ± {100 * scores['half_width']:.2f}"
        for group, scores in groups.items()
    )


def difference(run: dict, wanted: str) -> float | None:
    """Mean over groups of chosen minus the baseline whose name starts with `wanted`."""
    for name, groups in run["chosen_minus"].items():
        if name.startswith(wanted):
            return mean([group["mean"] for group in groups.values()])
    return None


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(argument) for argument in sys.argv[1:]])
