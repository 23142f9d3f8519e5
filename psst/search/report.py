"""What a search leaves behind: front.json, front.csv, metrics.json, front.png, and tables."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from psst.evaluation import EpisodeScores, PairedDifference, paired_difference
from psst.files import write_atomic
from psst.search.picture import draw_front
from psst.search.result import SearchResult, non_dominated

__all__ = ["print_tables", "write_report"]

EPISODES = "95 %, over the draw of episodes only; claims between methods need several seeds"
NO_INTERVAL = "none: one number a model; the region is the best candidate and its neighbors"


def front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row a model: losses, metric, whether it is on the front, in the region, chosen."""
    on_front = non_dominated(result.models)
    return [
        {
            "name": model.name,
            "kind": model.kind,
            **{f"{task}_loss": loss for task, loss in model.losses.items()},
            result.metric.name: model.metric,
            "on_front": on_front[position],
            "in_region": model.name in result.region,
            "chosen": model.name == result.chosen,
            "unreachable": bool(model.result.get("unreachable", False)),
            **{f"weight_{task}": weight for task, weight in model.result.get("weights", {}).items()},
        }
        for position, model in enumerate(result.models)
    ]


def episode_tests(result: SearchResult) -> dict[str, dict[str, EpisodeScores]]:
    """The tests that have a score for each episode."""
    return {
        name: groups
        for name, groups in result.tests.items()
        if groups and all(isinstance(scores, EpisodeScores) for scores in groups.values())
    }


def comparisons(result: SearchResult) -> dict[str, dict[str, PairedDifference]]:
    """Paired test differences of the chosen model to each baseline tested, per group of classes."""
    tests = episode_tests(result)
    return {
        name: {group: paired_difference(tests[result.chosen][group], scores[group]) for group in scores}
        for name, scores in tests.items()
        if name != result.chosen
    }


def metrics(result: SearchResult, steps: int, seconds: float) -> dict[str, Any]:
    """Everything that metrics.json holds."""
    paired = any(model.scores is not None for model in result.models)
    return {
        "chosen": result.chosen,
        "region": result.region,
        "n_candidates": len(result.candidates),
        "cost": {"steps": steps, "seconds": seconds},
        "test": {
            name: {key: describe_test(value) for key, value in values.items()}
            for name, values in result.tests.items()
        },
        "chosen_minus": {
            name: {
                group: {"mean": d.mean, "half_width": d.half_width, "episodes": d.n}
                for group, d in groups.items()
            }
            for name, groups in comparisons(result).items()
        },
        "interval": EPISODES if paired else NO_INTERVAL,
    }


def describe_test(scores: EpisodeScores | float) -> dict[str, Any] | float:
    """A number as it is; of scores their mean, interval and what they were measured on."""
    if not isinstance(scores, EpisodeScores):
        return scores
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
    chosen = f"Chosen: the best of {len(result.candidates)} candidates on validation."
    if not episode_tests(result):
        console.print(chosen)
        return
    console.print(tests_table(result))
    console.print(
        f"{chosen} Intervals: 95 %, over\n"
        "the draw of episodes only; one training seed proves no method better than another."
    )


def front_table(result: SearchResult) -> Table:
    """Losses and metric of all models, from most to least of the first auxiliary loss."""
    tasks, metric = list(result.candidates[0].losses), result.metric
    table = Table(title="Validation", title_justify="left")
    table.add_column("model")
    for column in (*(f"{task} loss" for task in tasks), f"{metric.label} {metric.unit}".rstrip()):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in sorted(front_rows(result), key=lambda row: float(row[f"{tasks[1]}_loss"]), reverse=True):
        words = {"on_front": "front", "in_region": "region", "chosen": "chosen", "unreachable": "unreachable"}
        marks = ", ".join(word for key, word in words.items() if row[key])
        losses = [f"{row[f'{task}_loss']:.4f}" for task in tasks]
        table.add_row(row["name"], *losses, metric.text(row[metric.name]), marks)
    return table


def tests_table(result: SearchResult) -> Table:
    """Test accuracies of the chosen model and the baselines, with paired differences."""
    tests = episode_tests(result)
    first = next(iter(tests[result.chosen].values()))
    table = Table(
        title=f"Test on unseen classes, {first.n_shot}-shot, {first.n} episodes", title_justify="left"
    )
    for column in ("model", "classes", "way"):
        table.add_column(column)
    for column in ("accuracy %", "chosen minus this, points"):
        table.add_column(column, justify="right")
    differences = comparisons(result)
    for name, groups in tests.items():
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
