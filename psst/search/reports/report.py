"""What a search leaves behind: front.json, front.csv, metrics.json and front.png."""

import csv
import io
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from psst.evaluation import ClassDifference, EpisodeScores, class_difference
from psst.files import write_atomic, write_json
from psst.search import confirm
from psst.search.budgets.pacer import read_budget_report
from psst.search.record import TestRecord
from psst.search.reports import cost
from psst.search.reports.measures import measure
from psst.search.result import SearchResult, non_dominated

_FORMAT = 1
_CLASSES = "95 %, over the draw of classes and of episodes; claims between methods need several seeds"
_EPISODES = "95 %, over the draw of episodes only; claims between methods need several seeds"
_NO_INTERVAL = "none: one number a model; the region is the best candidate and its neighbors"


def front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row a model: losses, metric, steps, whether it is on the front, in the region, chosen."""
    on_front, front = non_dominated(result.models), measure(result)
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


def episode_tests(result: SearchResult) -> dict[str, dict[str, EpisodeScores]]:
    """The tests that have a score for each episode."""
    return {
        name: groups
        for name, groups in result.tests.items()
        if groups and all(isinstance(scores, EpisodeScores) for scores in groups.values())
    }


def comparisons(result: SearchResult) -> dict[str, dict[str, ClassDifference]]:
    """Paired test differences of the chosen model to each baseline tested, per group of classes."""
    tests = episode_tests(result)
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
    front = measure(result)
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
            for name, groups in comparisons(result).items()
        },
        "interval": interval(result),
    }


def interval(result: SearchResult) -> str:
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


def write_report(result: SearchResult, folder: Path) -> None:
    """Write the result files of a search, each atomically."""
    from psst.search.reports.picture import draw_front

    _write_front(front_rows(result), folder)
    write_json(folder / "metrics.json", _metrics(result, folder), _FORMAT)
    draw_front(result, folder / "front.png")


def _write_front(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write front.json and front.csv."""
    write_atomic(folder / "front.json", json.dumps(rows, indent=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(chain(*rows))), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / "front.csv", text.getvalue())
