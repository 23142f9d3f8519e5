"""What a search leaves behind: front.json, front.csv, metrics.json, front.png, and tables."""

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
            name: {
                group: {"mean": d.mean, "half_width": d.half_width, "episodes": d.n}
                for group, d in groups.items()
            }
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
    """Print the front and the test result; a narrow terminal or a pipe gets the whole width all the same."""
    console = console or Console(width=max(Console().width, 100))
    console.print(front_table(result))
    console.print(test_table(result))
    console.print(
        f"Chosen: the best of {len(result.candidates)} candidates on validation. Intervals: 95 %, over\n"
        "the draw of episodes only; one training seed proves no method better than another."
    )


def front_table(result: SearchResult) -> Table:
    """Validation losses and accuracies of all models, from most to least of the first auxiliary loss."""
    tasks = list(result.candidates[0].losses)
    table = Table(title="Validation", title_justify="left")
    table.add_column("model")
    for column in (*(f"{task} loss" for task in tasks), "accuracy %"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in sorted(front_rows(result), key=lambda row: float(row[f"{tasks[1]}_loss"]), reverse=True):
        words = {"on_front": "front", "in_region": "region", "chosen": "chosen", "unreachable": "unreachable"}
        marks = ", ".join(word for key, word in words.items() if row[key])
        losses = [f"{row[f'{task}_loss']:.4f}" for task in tasks]
        table.add_row(row["name"], *losses, f"{100 * row['val_accuracy']:.2f}", marks)
    return table


def test_table(result: SearchResult) -> Table:
    """Test accuracies of the chosen model and the baselines, with paired differences."""
    first = next(iter(result.tests[result.chosen].values()))
    table = Table(
        title=f"Test on unseen classes, {first.n_shot}-shot, {first.n} episodes", title_justify="left"
    )
    for column in ("model", "classes", "way"):
        table.add_column(column)
    for column in ("accuracy %", "chosen minus this, points"):
        table.add_column(column, justify="right")
    differences = comparisons(result)
    for name, groups in result.tests.items():
        for group, scores in groups.items():
            gap = differences.get(name, {}).get(group)
            table.add_row(
                name,
                group,
                str(scores.n_way),
                f"{100 * scores.mean:.2f} ± {100 * scores.half_width:.2f}",
                f"{100 * gap.mean:+.2f} ± {100 * gap.half_width:.2f}" if gap else "chosen",
            )
    return table
