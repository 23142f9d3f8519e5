"""What a search prints: the front, how it was chosen, what it cost, and the test."""

from rich.console import Console
from rich.table import Table

from psst.evaluation import ClassDifference
from psst.search import confirm
from psst.search.reports import cost
from psst.search.reports.measures import measure
from psst.search.reports.report import comparisons, episode_tests, front_rows, interval
from psst.search.result import SearchResult

_MARKS = {
    "on_front": "front",
    "in_region": "region",
    "knee": "knee",
    "chosen": "chosen",
    "unreachable": "unreachable",
}


def print_tables(result: SearchResult, console: Console | None = None) -> None:
    """Print everything; a narrow terminal or a pipe gets the whole width all the same."""
    console = console or Console(width=max(Console().width, 100), highlight=False)
    console.print(_front_table(result))
    for line in [*_front_lines(result), *_cost_lines(result), *_choice_lines(result)]:
        console.print(line, soft_wrap=True)
    if episode_tests(result):
        console.print(_tests_table(result))
        console.print(
            f"Intervals of accuracies: 95 %, over the draw of episodes; of differences: {interval(result)}.",
            soft_wrap=True,
        )


def _front_table(result: SearchResult) -> Table:
    """Losses and metric of all models, from most to least of the first auxiliary loss."""
    tasks, metric = list(result.candidates[0].losses), result.metric
    table = Table(title="Validation", title_justify="left")
    table.add_column("model")
    for column in (*(f"{task} loss" for task in tasks), f"{metric.label} {metric.unit}".rstrip()):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in sorted(front_rows(result), key=lambda row: float(row[f"{tasks[1]}_loss"]), reverse=True):
        marks = ", ".join(word for key, word in _MARKS.items() if row[key])
        losses = [f"{row[f'{task}_loss']:.4f}" for task in tasks]
        table.add_row(row["name"], *losses, metric.text(row[metric.name]), marks)
    return table


def _front_lines(result: SearchResult) -> list[str]:
    """The front of the candidates in one line."""
    front = measure(result)
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
    costs, full = cost.account(result.units), cost.full_seconds(result.units, result.max_steps)
    search = cost.total(costs, baselines=False)
    parts = ", ".join(f"{name} {one.steps / result.max_steps:.2f}" for name, one in costs.items())
    seconds = f" and {search.seconds / full:.2f} in seconds" if full else ""
    line = (
        f"Cost: the search took {search.steps / result.max_steps:.2f} trainings of {result.max_steps} steps"
    )
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
            accuracy = f"{100 * scores.mean:.2f} ± {100 * scores.half_width:.2f}"
            table.add_row(name, group, str(scores.n_way), accuracy, _gap_text(gap))
    return table


def _gap_text(gap: ClassDifference | None) -> str:
    """A difference in points; `chosen` where there is none."""
    return f"{100 * gap.mean:+.2f} ± {100 * gap.half_width:.2f}" if gap else "chosen"
