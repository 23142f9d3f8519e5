"""What a search leaves behind and prints: front.json, front.csv, metrics.json, front.png, tables."""

import csv
import io
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from psst.evaluation import ClassDifference, EpisodeScores, class_difference
from psst.files import write_atomic, write_json
from psst.search import confirm
from psst.search.budgets.pacer import read_budget_report
from psst.search.record import TestRecord
from psst.search.reports import cost
from psst.search.reports.measures import measure
from psst.search.result import SearchResult

_FORMAT = 1
_CLASSES = "95 %, over the draw of classes and of episodes; claims between methods need several seeds"
_EPISODES = "95 %, over the draw of episodes only; claims between methods need several seeds"
_NO_INTERVAL = "none: one number a model; the region is the best candidate and its neighbors"
_MARKS = {"on_front": "front", "in_region": "region"} | {w: w for w in ("knee", "chosen", "unreachable")}


def write_report(result: SearchResult, folder: Path) -> None:
    """Write the result files of a search, each atomically."""
    from psst.search.reports.picture import draw_front

    _write_front(_front_rows(result), folder)
    write_json(folder / "metrics.json", _metrics(result, folder), _FORMAT)
    draw_front(result, folder / "front.png")


def print_tables(result: SearchResult, console: Console | None = None) -> None:
    """Print everything; a narrow terminal or a pipe gets the whole width all the same."""
    console = console or Console(width=max(Console().width, 100), highlight=False)
    console.print(_front_table(result))
    for line in [*_front_lines(result), *_cost_lines(result), *_choice_lines(result)]:
        console.print(line, soft_wrap=True)
    if _episode_tests(result):
        console.print(_tests_table(result))
        console.print(
            f"Intervals of accuracies: 95 %, over the draw of episodes; of differences: {_interval(result)}.",
            soft_wrap=True,
        )


def _front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row a model: losses, metric, steps, whether it is on the front, in the region, chosen."""
    on_front, front = result.on_front, measure(result.candidates, result.baselines)
    knee = front.knee if front else None
    return [
        {
            "name": model.name,
            "kind": model.kind,
            **{f"{task}_loss": loss for task, loss in model.losses.items()},
            result.metric.name: model.metric,
            "on_front": on_front[position],
            "in_region": model.name in result.region,
            "knee": model.name == knee,
            "chosen": model.name == result.chosen,
            "unreachable": bool(model.result.get("unreachable", False)),
            "steps": model.result.get("steps", 0),
            **{f"weight_{task}": weight for task, weight in model.result.get("weights", {}).items()},
        }
        for position, model in enumerate(result.models)
    ]


def _episode_tests(result: SearchResult) -> dict[str, dict[str, EpisodeScores]]:
    """The tests that have a score for each episode."""
    return {
        name: groups
        for name, groups in result.tests.items()
        if groups and all(isinstance(scores, EpisodeScores) for scores in groups.values())
    }


def _comparisons(result: SearchResult) -> dict[str, dict[str, ClassDifference]]:
    """Paired test differences of the chosen model to each baseline tested, per group of classes."""
    tests = _episode_tests(result)
    return {
        name: {
            group: class_difference({group: tests[result.chosen][group]}, {group: scores[group]})
            for group in scores
        }
        for name, scores in tests.items()
        if name != result.chosen
    }


def _metrics(result: SearchResult, folder: Path) -> dict[str, Any]:
    """Everything that metrics.json holds."""
    front = measure(result.candidates, result.baselines)
    return {
        "chosen": result.chosen,
        "region": result.region,
        "n_candidates": len(result.candidates),
        "selection": confirm.described(result),
        "front": asdict(front) if front else None,
        "budget": read_budget_report(folder),
        "cost": cost.described(result.units, result.max_steps),
        "test": {
            name: {key: _describe_test(value) for key, value in values.items()}
            for name, values in result.tests.items()
        },
        "test_touched": TestRecord(folder).read(),
        "chosen_minus": {
            name: {group: confirm.difference_described(gap) for group, gap in groups.items()}
            for name, groups in _comparisons(result).items()
        },
        "interval": _interval(result),
    }


def _interval(result: SearchResult) -> str:
    """What the intervals of the choice cover."""
    groups = [scores for model in result.models for scores in model.scores.values()]
    if not groups:
        return _NO_INTERVAL
    return _EPISODES if any(scores.class_ids is None for scores in groups) else _CLASSES


def _describe_test(scores: EpisodeScores | float) -> dict[str, Any] | float:
    """A number as it is; of scores their mean, interval and what they were measured on."""
    if not isinstance(scores, EpisodeScores):
        return scores
    kept = {name: getattr(scores, name) for name in ("n_way", "n_shot", "n_query", "seed")}
    return {"accuracy": scores.mean, "half_width": scores.half_width, "episodes": scores.n, **kept}


def _write_front(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write front.json and front.csv."""
    write_atomic(folder / "front.json", json.dumps(rows, indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(chain(*rows))), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / "front.csv", text.getvalue())


def _front_table(result: SearchResult) -> Table:
    """Losses and metric of all models, from most to least of the first auxiliary loss."""
    tasks, metric = list(result.candidates[0].losses), result.metric
    names = (*(f"{task} loss" for task in tasks), f"{metric.label} {metric.unit}".rstrip())
    numbers = (Column(name, justify="right") for name in names)
    table = Table("model", *numbers, "", title="Validation", title_justify="left")
    for row in sorted(_front_rows(result), key=lambda row: float(row[f"{tasks[1]}_loss"]), reverse=True):
        marks = ", ".join(word for key, word in _MARKS.items() if row[key])
        losses = [f"{row[f'{task}_loss']:.4f}" for task in tasks]
        table.add_row(row["name"], *losses, metric.text(row[metric.name]), marks)
    return table


def _front_lines(result: SearchResult) -> list[str]:
    """The front of the candidates in one line."""
    front = measure(result.candidates, result.baselines)
    if front is None:
        return []
    point = ", ".join(f"{task} {loss:.4f}" for task, loss in front.reference_point.items())
    words = [f"{front.size} of {len(result.candidates)} candidates", f"hypervolume {front.hypervolume:.3f}"]
    alone = [f"{name} {value:.3f}" for name, value in front.hypervolumes.items()]
    words[-1] += f" ({', '.join(alone)}; in ranges of the anchors, up to {point})" if alone else ""
    words += [] if front.spread is None else [f"spread {front.spread:.2f}"]
    return [f"Front: {', '.join(words)}."]


def _cost_lines(result: SearchResult) -> list[str]:
    """Cost by kind, in steps, seconds and trainings of full length."""
    if not result.units or not result.max_steps:
        return []
    costs = cost.described(result.units, result.max_steps)
    search, seconds = costs["search"], ""
    if "trainings_in_seconds" in search:
        seconds = f" and {search['trainings_in_seconds']:.2f} in seconds"
    parts = ", ".join(f"{name} {one['trainings']:.2f}" for name, one in costs["by_kind"].items())
    line = f"Cost: the search took {search['trainings']:.2f} trainings of {result.max_steps} steps"
    return [f"{line}{seconds}, without baselines ({parts})."]


def _choice_lines(result: SearchResult) -> list[str]:
    """Who was chosen, among how many, and what the classes that confirm say of it."""
    selection, best = result.selection, result.best
    classes = confirm.n_classes(best, held_out=False)
    among = f"the best of {len(result.candidates)} candidates on "
    among += f"{classes} validation classes" if classes else "validation"
    lines = [f"Chosen: {result.chosen}, {among}; the best of many looks better than it is."]
    if selection.reason:
        lines.append(f"Not confirmed on classes of its own: {selection.reason}.")
    for name, gap in confirm.differences(result, held_out=True).items():
        lines.append(f"On classes that had no say, chosen minus {name}: {gap} ({confirm.verdict(gap)}).")
    return lines


def _tests_table(result: SearchResult) -> Table:
    """Test accuracies of the chosen model and the baselines, with paired differences."""
    tests = _episode_tests(result)
    first = next(iter(tests[result.chosen].values()))
    title = f"Test on unseen classes, {first.n_shot}-shot, {first.n} episodes"
    numbers = (Column(name, justify="right") for name in ("accuracy %", "chosen minus this, points"))
    table = Table("model", "classes", "way", *numbers, title=title, title_justify="left")
    differences = _comparisons(result)
    for name, groups in tests.items():
        for group, scores in groups.items():
            gap = differences.get(name, {}).get(group)
            accuracy = f"{100 * scores.mean:.2f} ± {100 * scores.half_width:.2f}"
            table.add_row(name, group, str(scores.n_way), accuracy, _gap_text(gap))
    return table


def _gap_text(gap: ClassDifference | None) -> str:
    """A difference in points; `chosen` where there is none."""
    return f"{100 * gap.mean:+.2f} ± {100 * gap.half_width:.2f}" if gap else "chosen"
