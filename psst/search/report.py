"""What a search leaves behind: front.json, front.csv, metrics.json, front.png, and a table on the terminal."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from rich.console import Console
from rich.table import Table

from psst.evaluation import EpisodeScores, PairedDifference, paired_difference
from psst.files import write_atomic
from psst.search.picture import draw_front
from psst.search.search import Candidate, SearchResult

__all__ = ["print_tables", "write_report"]


def front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row a model: validation losses, accuracy, whether it is on the front, in the region, chosen."""
    models = result.candidates + result.baselines
    on_front = non_dominated(models)
    return [
        {
            "name": model.name,
            "kind": model.kind,
            **{f"{task}_loss": loss for task, loss in model.losses.items()},
            "val_accuracy": model.accuracy,
            "on_front": bool(on_front[position]),
            "in_region": model.name in result.region,
            "chosen": model.name == result.chosen,
            "unreachable": bool(model.result.get("unreachable", False)),
            **{f"weight_{task}": weight for task, weight in model.result.get("weights", {}).items()},
        }
        for position, model in enumerate(models)
    ]


def non_dominated(models: list[Candidate]) -> list[bool]:
    """Whether no other model is at least as good in every validation loss and better in one."""
    losses = np.array([list(model.losses.values()) for model in models])
    return [bool(flag) for flag in moocore.is_nondominated(losses, keep_weakly=True)]


def comparisons(result: SearchResult) -> dict[str, dict[str, PairedDifference]]:
    """Paired test differences of the chosen model to each baseline tested, per group of classes."""
    chosen = result.tests[result.chosen]
    return {
        name: {group: paired_difference(chosen[group], scores[group]) for group in scores}
        for name, scores in result.tests.items()
        if name != result.chosen
    }


def metrics(result: SearchResult, steps: int, seconds: float) -> dict[str, Any]:
    """Everything that metrics.json holds."""
    return {
        "chosen": result.chosen,
        "region": result.region,
        "n_candidates": len(result.candidates),
        "cost": {"steps": steps, "seconds": seconds},
        "test": {
            name: {group: describe_scores(scores) for group, scores in groups.items()}
            for name, groups in result.tests.items()
        },
        "chosen_minus": {
            name: {group: {"mean": d.mean, "half_width": d.half_width, "episodes": d.n} for group, d in groups.items()}
            for name, groups in comparisons(result).items()
        },
        "interval": "95 %, over the draw of episodes only; claims between methods need several seeds",
    }


def describe_scores(scores: EpisodeScores) -> dict[str, Any]:
    """Mean, interval and what they were measured on."""
    return {
        "accuracy": scores.mean,
        "half_width": scores.half_width,
        "episodes": scores.n,
        "n_way": scores.n_way,
        "n_shot": scores.n_shot,
        "n_query": scores.n_query,
        "seed": scores.seed,
    }


def write_report(result: SearchResult, folder: Path, steps: int, seconds: float) -> None:
    """Write the result files of a search, each atomically."""
    rows = front_rows(result)
    write_atomic(folder / "front.json", json.dumps(rows, indent=1))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / "front.csv", text.getvalue())
    write_atomic(folder / "metrics.json", json.dumps(metrics(result, steps, seconds), indent=1))
    draw_front(result, folder / "front.png")


def print_tables(result: SearchResult, console: Console | None = None) -> None:
    """Print the front and the test result."""
    console = console or Console(width=None)
    tasks = list(result.candidates[0].losses)
    front = Table(title="Models, by validation (losses and main-task accuracy)")
    for column in ("model", *(f"{task} loss" for task in tasks), "accuracy %", "front", "region", "chosen"):
        front.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    ordered = sorted(front_rows(result), key=lambda row: row[f"{tasks[-1]}_loss"], reverse=True)
    for row in ordered:
        marks = ["x" if row[key] else "" for key in ("on_front", "in_region", "chosen")]
        losses = [f"{row[f'{task}_loss']:.4f}" for task in tasks]
        front.add_row(row["name"], *losses, f"{100 * row['val_accuracy']:.2f}", *marks)
    console.print(front)
    console.print(test_table(result))
    console.print("Intervals: 95 %, over the draw of episodes; one training seed, so no claim between methods.")


def test_table(result: SearchResult) -> Table:
    """Test accuracies of the chosen model and the baselines, with paired differences."""
    table = Table(title="Test on unseen classes")
    for column in ("model", "classes", "task", "accuracy %", "episodes", "chosen minus this, points"):
        table.add_column(column, justify="left" if column in ("model", "classes", "task") else "right", no_wrap=True)
    differences = comparisons(result)
    for name, groups in result.tests.items():
        for group, scores in groups.items():
            gap = differences.get(name, {}).get(group)
            table.add_row(
                f"{name} (chosen)" if name == result.chosen else name,
                group,
                f"{scores.n_way}-way {scores.n_shot}-shot",
                f"{100 * scores.mean:.2f} ± {100 * scores.half_width:.2f}",
                str(scores.n),
                f"{100 * gap.mean:+.2f} ± {100 * gap.half_width:.2f}" if gap else "",
            )
    return table
