"""What a search leaves behind and prints: first line, tables, front.*, metrics.json."""

import os
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from psst.evaluation import ClassDifference
from psst.files import atomic_path, write_json, write_rows
from psst.page import Page, confusion_tables
from psst.search import choose
from psst.search.course import SEARCH
from psst.search.folds import FROZEN, OWN
from psst.search.progress import seconds_text
from psst.search.result import PLAIN, SearchResult
from psst.search.unit import Candidate, Measured

_FORMAT = 2
_ROWS = 10
_NEXT = (
    "psst export {0}/best.ckpt --output encoder  # --onnx: for use without torch",
    "psst classify examples new_images --encoder encoder  # examples: a folder a class",
    "psst test --config {0}/config.yaml --ckpt_path {0}/best.ckpt",
    "psst search --config {0}/config.yaml --output AGAIN  # the same search once more",
)
_DEAR = 1.2  # passes of a step: a task above that has to pay for them


def write_report(result: SearchResult, folder: Path) -> None:
    """Write the result files of a search, each whole or not at all."""
    from psst.search.charts import front

    rows = _front_rows(result)
    write_rows(folder / "front.json", rows)
    write_rows(folder / "front.csv", rows)
    with atomic_path(folder / "front.png") as path:
        front(result).save(str(path), format="png", ppi=130)
    _page(result, folder).write(folder / "report.html")
    write_json(folder / "metrics.json", metrics(result), _FORMAT)


def _page(result: SearchResult, folder: Path) -> Page:
    """The report as a page."""
    from psst.search.charts import charts_of

    told = result.told
    tables = [_table(result), *([_tests_table(result)] if result.tests else [])]
    tables += [] if told is None else confusion_tables(told.confusion, told.names)
    picks = {one.unit.name: f"{one.name}, {_origin(one)}" for one in result.candidates}
    place = os.path.relpath(folder)
    return Page(
        title=place,
        sentences=[_first_line(result), *sentences(result)],
        tables=tables,
        charts={**charts_of(result, picks, folder), **({} if told is None else told.charts())},
        commands=[command.format(place) for command in _NEXT] if (folder / "config.yaml").is_file() else [],
        remark=f"{_interval_words(result) if result.tests else ''} psst-fewshot {version('psst-fewshot')}, "
        f"torch {version('torch')}.",
    )


def print_report(result: SearchResult, output: Path, console: Console | None = None) -> None:
    """Print what was found; a narrow terminal or a pipe gets the whole width all the same."""
    console = console or Console(width=max(Console().width, 100), highlight=False)
    console.print(_first_line(result), soft_wrap=True)
    for line in sentences(result):
        console.print(line, soft_wrap=True)
    console.print(_table(result))
    if result.tests:
        console.print(_tests_table(result))
        console.print(_interval_words(result), soft_wrap=True)
    console.print(f"best.ckpt, report.html, front.png, front.csv, metrics.json: {output}", soft_wrap=True)


def _first_line(result: SearchResult) -> str:
    """What was handed over, its accuracy, how it compares with plain at equal cost, and the cost."""
    name, best = result.handed_over, result.best
    simpler = f"of `{name}`: nothing is clearly ahead of it on validation"
    known = {SEARCH: "found by the search", PLAIN: simpler, FROZEN: simpler}
    own = known.get(name, f"the rival `{name}` was best on validation")
    words = [f"Handed over: {best.name} ({own})"]
    tested = result.tests.get(name)
    split, measured = ("test", tested) if tested is not None else ("validation", best.measured)
    words.append(f"{split} {result.metric.label} {_text(result, measured)}")
    gap = result.test_difference(name, PLAIN)
    if gap is not None:
        words.append(f"{_gap_text(result, gap)} against plain training {_fair(result)}")
    words.append(f"{result.total_passes:.0f} passes in all, {result.passes(SEARCH):.0f} of them the search's")
    return "; ".join(words) + "."


def sentences(result: SearchResult) -> list[str]:
    """The search alone beside plain, what each auxiliary task does, whether training was long enough."""
    lines = []
    gap = result.test_difference(SEARCH, PLAIN)
    if gap is not None:
        lines.append(f"The search alone is {_gap_text(result, gap)} from plain training {_fair(result)}.")
    lines += _way_to_go(result)
    if gain := result.still_improving:
        lines.append(
            f"Main only still gains {_gap_text(result, gain)} from one look to the next: train longer before "
            "you judge any task."
        )
    lines += [_task_sentence(result, task) for task in result.tasks[1:]]
    final, plain = result.finals.get(SEARCH), result.finals.get(PLAIN)
    if final is not None and plain is not None and not (final.measured - plain.measured).better:
        lines.append("On validation no task is shown to help: plain training does as well within noise.")
    remarks = [remark for found in result.found.values() for remark in found.remarks]
    lines += [f"Note: {remark}." for remark in [*result.remarks, *remarks]]
    if len(result.looks_at_test) > 1:
        lines.append(f"Note: the test was looked at {len(result.looks_at_test)} times with different models.")
    return lines


def _on_folds(result: SearchResult) -> bool:
    return any(len(one.measured.folds) > 1 for one in result.finals.values())


def _fair(result: SearchResult) -> str:
    """By what plain training was made a fair rival."""
    return "tuned on the same folds" if _on_folds(result) else "of the same cost"


def _way_to_go(result: SearchResult) -> list[str]:
    """Frozen features, an adapter, or one's own network: what validation says, where that was tried."""
    frozen = result.finals.get(FROZEN)
    if frozen is None:
        return []
    name = max((n for n in result.finals if n not in (FROZEN, OWN)), key=lambda n: result.finals[n].quality)
    adapted, own = result.finals[name], result.finals.get(OWN)
    gain = adapted.measured - frozen.measured
    words = [f"adapting gains {_gap_text(result, gain)} over frozen features on validation"]
    way = "frozen features are enough" if result.handed_over == FROZEN else "adapt"
    if own is not None:
        gap = own.measured - adapted.measured
        words.append(
            f"your own network is {_gap_text(result, gap)} from that on the fold that it was judged on"
        )
        way = "train your own network" if gap.mean > gap.standard_error else way
    return [f"Which way to go: {way} ({'; '.join(words)})."]


def _task_sentence(result: SearchResult, task: str) -> str:
    """What validation says of one auxiliary task."""
    cost = result.costs.get(task, 1.0)
    level = choose.unlearned(task, result.found[SEARCH].candidates, result.chance)
    gap = choose.task_evidence(task, result.found[SEARCH].candidates)
    if level is not None:
        words = f"its loss {level[0]:.3f} is at chance level {result.chance[task]:.3f}"
        return f"{task}: not learned in the {level[1]} steps that a look gave it ({words})."
    if gap is None:
        return f"{task}: no look has tried it by itself."
    equal = "steps" if _on_folds(result) else "passes"
    words = f"{_gap_text(result, gap)} on validation at equal {equal}, {cost:.2f} passes a step"
    if gap.better:
        return f"{task}: helps ({words})."
    if gap.worse:
        verdict = "does not pay for its passes" if cost > _DEAR else "harms"
        return f"{task}: {verdict} ({words})."
    return f"{task}: not shown to help ({words})."


def _front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row a model that was judged: who, metric, losses, weights, cost."""
    finals, best = result.names_of_finals, result.best.unit.name
    return [
        {
            "name": one.name,
            "line": one.line,
            "look": one.look or "",
            "unit": one.unit.name,
            result.metric.name: one.measured.metric,
            **{f"{task}_loss": loss for task, loss in one.result.get("losses", {}).items()},
            **{f"training_{task}_loss": loss for task, loss in one.result.get("training", {}).items()},
            **{f"weight_{task}": weight for task, weight in one.result.get("weights", {}).items()},
            **{f"fold_{int(fold) + 1}": value for fold, value in one.measured.folds.items()},
            "members": " ".join(one.unit.members),
            "passes": round(float(one.result.get("passes", 0.0)), 1),
            "final_of": finals.get(one.unit.name, ""),
            "handed_over": one.unit.name == best,
        }
        for one in result.candidates
    ]


def metrics(result: SearchResult) -> dict[str, Any]:
    """Everything that metrics.json holds."""
    named = {name: _candidate(result, name) for name in result.finals}
    pairs = [(SEARCH, PLAIN), *((SEARCH, name) for name in (FROZEN, OWN, "fixed") if name in result.finals)]
    gaps = {f"{one} - {other}": result.test_difference(one, other) for one, other in pairs}
    gaps["handed_over - plain"] = result.test_difference(result.handed_over, PLAIN)
    return {
        "handed_over": result.handed_over,
        "model": result.best.name,
        "total_passes": result.total_passes,
        "candidates": named,
        "differences": {label: _described(result, gap) for label, gap in gaps.items() if gap is not None},
        "tasks": {task: _task_sentence(result, task) for task in result.tasks[1:]},
        "costs": dict(result.costs),
        "still_improving": result.still_improving is not None,
        "test_touched": result.looks_at_test,
        "interval": _interval_words(result) if result.tests else "none: nothing was tested",
        "remarks": sentences(result),
    }


def _candidate(result: SearchResult, name: str) -> dict[str, Any]:
    one, tested, metric = result.finals[name], result.tests.get(name), result.metric
    known: dict[str, Any] = {"model": one.name, "validation": metric.shown(one.measured.metric)}
    if tested is not None:
        known["test"] = metric.shown(tested.metric)
        known["test_interval"] = _bounds(result, tested.metric, tested.half_width)
        known["test_groups"] = {group: metric.shown(scores.mean) for group, scores in tested.scores.items()}
    return {**known, "passes": result.passes(name), "seconds": result.seconds(name)}


def _described(result: SearchResult, gap: ClassDifference) -> dict[str, Any]:
    over_episodes = gap.episode_half_width
    return {
        "test": result.metric.shown(gap.mean),
        "interval": _bounds(result, gap.mean, gap.half_width),
        "half_width_over_episodes": result.metric.shown(over_episodes) if isfinite(over_episodes) else None,
        "classes": gap.n_classes,
    }


def _bounds(result: SearchResult, middle: float, half: float) -> list[float] | None:
    ends = (middle - half, middle + half)
    return [result.metric.shown(end) for end in ends] if isfinite(half) else None


def _text(result: SearchResult, measured: Measured) -> str:
    return f"{result.metric.text(measured.metric, measured.half_width)} {result.metric.unit}".rstrip()


def _gap_text(result: SearchResult, gap: ClassDifference, points: str = " points") -> str:
    return result.metric.text(gap.mean, gap.half_width, "+") + (points if result.metric.unit == "%" else "")


def _table(result: SearchResult) -> Table:
    """The best models on validation, every final among them."""
    finals, plain, best = result.names_of_finals, result.finals.get(PLAIN), result.best.unit.name
    shown = [one for one in result.candidates if one.unit.name in finals]
    shown += [one for one in result.candidates if one.unit.name not in finals][: _ROWS - len(shown)]
    metric, folds = f"{result.metric.label} {result.metric.unit}".rstrip(), _on_folds(result)
    columns: list[str | Column] = [Column(name, justify="right") for name in (metric, "minus plain")]
    columns = [Column("model", overflow="fold"), "of", *columns]
    columns += [Column("each fold", no_wrap=True), ""] if folds else [""]
    title = f"Validation ({len(shown)} of {len(result.candidates)} models, all in front.csv)"
    table = Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD)
    for one in choose.ranked(shown):
        gap, name = "", one.unit.name
        if plain is not None and name != plain.unit.name:
            gap = _gap_text(result, one.measured - plain.measured, "")
        mark = f"best of {finals[name]}" if name in finals else ""
        mark = "handed over" if name == best else mark
        each = " ".join(f"{100 * value:.1f}" for value in one.measured.folds.values())
        cells = (one.name, _origin(one), result.metric.text(one.measured.metric), gap)
        table.add_row(*cells, *([each] if folds else []), mark)
    return table


def _origin(one: Candidate) -> str:
    looked = one.line == SEARCH and one.look and not one.unit.members
    return f"{one.line}, look {one.look}" if looked else one.line


def _tests_table(result: SearchResult) -> Table:
    """Test accuracies of the finals, with paired differences to plain."""
    columns = [Column(name, justify="right") for name in (f"{result.metric.label}", "minus plain", "passes")]
    first = next(iter(next(iter(result.tests.values())).scores.values()), None)
    what = "Test" if first is None else f"Test on unseen classes, {first.n_way}-way {first.n_shot}-shot"
    table = Table("", "model", *columns, title=what, title_justify="left", box=SIMPLE_HEAD)
    for name in sorted(result.tests, key=lambda name: name != result.handed_over):
        gap = result.test_difference(name, PLAIN)
        words = _gap_text(result, gap, "") if gap is not None else ""
        label = "search alone" if name == SEARCH else name
        passes = f"{result.passes(name):.0f}"
        table.add_row(label, result.finals[name].name, _text(result, result.tests[name]), words, passes)
        for group, scores in result.tests[name].scores.items():
            if len(result.tests[name].scores) > 1:
                table.add_row("", f"  {group}, {scores.n_way}-way", f"{100 * scores.mean:.2f} %", "", "")
    return table


def _interval_words(result: SearchResult) -> str:
    gaps = [result.test_difference(name, PLAIN) for name in result.tests]
    classes = max((gap.n_classes for gap in gaps if gap is not None), default=0)
    if not any(measured.scores for measured in result.tests.values()):
        return "No intervals of the test: one number a model, and no classes to draw."
    over = f"the draw of classes ({classes}) and of episodes" if classes else "the draw of episodes only"
    took = seconds_text(sum(result.seconds(name) for name in result.finals))
    seeds = "one training seed proves no method better than another"
    return f"Intervals: 95 %, over {over}; {seeds}. Trained for {took}."
