"""Charts of a search: those of its report, in which a click picks a model in all of them, and its picture."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import moocore
import numpy as np
from numpy.typing import NDArray

from psst.search.course import SEARCH
from psst.search.folds import FROZEN, OWN
from psst.search.result import PLAIN, SearchResult
from psst.search.unit import Candidate

_COLORS = {SEARCH: "#3f83d4", PLAIN: "#8a8a8a", "fixed": "#d07c2e"}  # seen on white and on black
_COLORS |= {"grid": "#3f9d54", FROZEN: "#8e6bbf", OWN: "#c2568f"}
_PICK = alt.param(name="picked", value="")
_PICKED = "picked == '' || datum.pick == picked"
_SHOWN = alt.when(_PICKED).then(alt.value(1.0)).otherwise(alt.value(0.25))
_STEP = 26  # pixels a line
_WIDTH = 420  # pixels of a chart in a picture
_MOST = 24  # models in a picture, the best on validation; finals beside
_POINTS = 60  # of one curve at the most
_Rows = list[dict[str, Any]]


def charts_of(result: SearchResult, picks: Mapping[str, str], folder: Path) -> dict[str, dict[str, Any]]:
    """Return Vega-Lite specifications by heading; `picks` is how the table calls each unit."""
    made = {**_pictures(result, picks), "What each has cost": _costs(result).add_params(_PICK)}
    if curves := _curves(result, picks, folder / "units"):
        made["How the losses of the search's models went"] = curves.add_params(_PICK)
    return {heading: chart.properties(width="container").to_dict() for heading, chart in made.items()}


def front(result: SearchResult) -> alt.HConcatChart:
    """Accuracy over trade-offs with intervals, plain as a band, rivals as lines; losses beside it."""
    made = _pictures(result, {})
    return alt.hconcat(*(chart.properties(width=_WIDTH, title=heading) for heading, chart in made.items()))


def tradeoffs(result: SearchResult) -> alt.LayerChart:
    """The left part of `front`."""
    return next(iter(_pictures(result, {}).values())).properties(width=_WIDTH)


def losses(result: SearchResult) -> alt.LayerChart:
    """The right part of `front`: models that lack a loss are left out; ValueError where all do."""
    _, *known = _pictures(result, {}).values()
    if not known:
        raise ValueError("no two models have a loss of each task, validated or trained on.")
    return known[0].properties(width=_WIDTH)


def _pictures(result: SearchResult, picks: Mapping[str, str]) -> dict[str, alt.LayerChart]:
    """Trade-offs, and losses where two models have all of them, by heading."""
    judged = [one for one in result.candidates if np.isfinite(one.measured.metric)]
    finals, plain, best = result.names_of_finals, result.finals.get(PLAIN), result.best.unit.name
    if not picks:  # a picture cannot be scrolled
        judged = [one for place, one in enumerate(judged) if place < _MOST or one.unit.name in finals]
    judged.sort(key=_place)  # the page's slider goes through them in this order
    rows = []
    for one in judged:
        half, value = _half_to_plain(result, one, plain), result.metric.shown(one.measured.metric)
        row = {"model": one.name, "line": one.line, "value": value, "low": value - half, "high": value + half}
        name = one.unit.name
        rows.append({**row, "pick": picks.get(name, name), "best": name == best, "final": name in finals})
    made = {"Trade-offs that were tried": _tradeoffs(result, rows)}
    losses = _loss_matrix(judged, result.tasks)
    known = np.flatnonzero(np.isfinite(losses).all(axis=1))
    if len(known) > 1:
        made["The same models as losses"] = _losses(result, [rows[i] for i in known], losses[known])
    return {heading: chart.add_params(_PICK) for heading, chart in made.items()}


def _tradeoffs(result: SearchResult, rows: _Rows) -> Any:
    """Accuracy of each, with the interval of its difference to plain; plain is the band, rivals are lines."""
    label = f"validation {result.metric.label} {result.metric.unit}".rstrip()
    order = list(dict.fromkeys(row["model"] for row in rows))
    encoding: dict[str, Any] = {
        "x": alt.X("value:Q", title=label, scale=alt.Scale(zero=False)),
        "y": alt.Y("model:N", title=None, sort=order, axis=alt.Axis(labelLimit=150)),
        "color": _color(rows),
        "opacity": _SHOWN,
        "tooltip": _tooltip(pick="model", value=label, low="from", high="to"),
    }
    intervals = _chart(rows).mark_rule(strokeWidth=2).encode(**{**encoding, "x": "low:Q", "x2": "high:Q"})
    finals = [row for row in rows if row["final"] and row["line"] != SEARCH]
    lines = _chart(finals).mark_rule(strokeDash=[4, 3]).encode(x="value:Q", color=_color(rows))
    layers = [lines, intervals, *_points(rows, encoding)]
    plain, search = result.finals.get(PLAIN), result.finals.get(SEARCH)
    if plain is not None and search is not None:
        half, middle = _half_to_plain(result, search, plain), result.metric.shown(plain.measured.metric)
        band = _chart([{"low": middle - half, "high": middle + half}]).encode(x="low:Q", x2="high:Q")
        layers.insert(0, band.mark_rect(color=_COLORS[PLAIN], opacity=0.2))
    return alt.layer(*layers).properties(height=_STEP * len(order))


def _losses(result: SearchResult, rows: _Rows, losses: NDArray[np.float64]) -> Any:
    """Main loss over that of the auxiliary task, with the front; of several, each on an axis of its own."""
    if len(result.tasks) > 2:
        return _parallel(result.tasks, rows, losses)
    front, what = moocore.is_nondominated(losses, keep_weakly=True), f"{result.tasks[1]} loss"
    rows = [{**row, "main": a, "other": b} for row, (a, b) in zip(rows, losses.tolist(), strict=True)]
    encoding: dict[str, Any] = {
        "x": alt.X("other:Q", title=what, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
        "y": alt.Y("main:Q", title="main loss", scale=alt.Scale(zero=False)),
    }
    best = _chart([row for row, kept in zip(rows, front.tolist(), strict=True) if kept])
    line = best.mark_line(color=_COLORS[PLAIN], strokeDash=[4, 3]).encode(**encoding)
    encoding |= {"color": _color(rows), "opacity": _SHOWN}
    tooltip = _tooltip(pick="model", main="main loss", other=what)
    return alt.layer(line, *_points(rows, {**encoding, "tooltip": tooltip})).properties(height=260)


def _parallel(tasks: Sequence[str], rows: _Rows, losses: NDArray[np.float64]) -> Any:
    """A line a model from axis to axis, each from its lowest loss up; dashed if another is below in all."""
    spread = np.ptp(losses, axis=0)
    shares = (losses - losses.min(axis=0)) / np.where(spread > 0, spread, 1)
    front = moocore.is_nondominated(losses, keep_weakly=True)
    cells = [
        {**row, "task": task, "share": shares[i, j], "loss": losses[i, j], "front": bool(front[i])}
        for i, row in enumerate(rows)
        for j, task in enumerate(tasks)
    ]
    encoding: dict[str, Any] = {
        "x": alt.X("task:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, labelLimit=70)),
        "y": alt.Y("share:Q", title="loss, lowest to highest", axis=alt.Axis(labels=False, ticks=False)),
        "detail": "pick:N",
        "color": _color(rows),
        "opacity": _SHOWN,
        "tooltip": [*_tooltip(pick="model", loss="loss"), alt.Tooltip("task:N")],
    }
    dash = alt.when("datum.front").then(alt.value([1, 0])).otherwise(alt.value([3, 3]))
    lines = _chart(cells).mark_line().encode(**encoding, strokeDash=dash)
    return alt.layer(lines, *_points(cells, encoding)).properties(height=260)


def _costs(result: SearchResult) -> Any:
    """Passes of the search and of each rival."""
    rows = [{"line": n, "passes": result.passes(n), "seconds": result.seconds(n)} for n in result.found]
    encoding: dict[str, Any] = {
        "x": alt.X("passes:Q", title="passes"),
        "y": alt.Y("line:N", title=None, sort=None),
        "color": _color(rows).legend(None),
        "tooltip": _tooltip(line="line", passes="passes", seconds="seconds"),
    }
    return _chart(rows).mark_bar().encode(**encoding).properties(height=_STEP * len(rows))


def _curves(result: SearchResult, picks: Mapping[str, str], units: Path) -> Any:
    """A line a task of each unit of the search alone, from its log; nothing where none is left."""
    cells = [
        {"unit": unit, "pick": picks.get(unit, ""), **cell}  # trunks have no row in the table
        for unit in sorted(result.found[SEARCH].units)
        for cell in _logged(units / unit, result.tasks)
    ]
    encoding: dict[str, Any] = {
        "x": alt.X("step:Q", title="optimizer steps"),
        "y": alt.Y("loss:Q", title="training loss of a batch", scale=alt.Scale(type="log")),
        "color": alt.Color("task:N", title=None, sort=None, legend=alt.Legend(orient="top")),
        "detail": "unit:N",
        "opacity": _SHOWN,
        "tooltip": [*_tooltip(unit="unit", step="step", loss="loss"), alt.Tooltip("task:N")],
    }
    lines = _chart(cells).mark_line(point={"size": 8}).encode(**encoding)  # points for those of one step
    return lines.properties(height=260) if cells else None


def _logged(unit: Path, tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Steps and losses of each task, as far as they were logged and have a logarithm."""
    found: dict[str, dict[int, float]] = {task: {} for task in tasks}
    for log in sorted(unit.glob("version_*/metrics.csv")):
        with log.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for task, losses in found.items():
                    loss = float(row.get(f"psst/loss/{task}") or row.get(f"train/{task}_loss") or 0)
                    if 0 < loss < np.inf:
                        losses[int(row["step"])] = loss
    for task, losses in found.items():
        for step in sorted(losses)[:: -(-len(losses) // _POINTS) or 1]:
            yield {"task": task, "step": step, "loss": losses[step]}


def _place(one: Candidate) -> tuple[bool, int, list[str], float, str]:
    """Order along the axis: main only, each task from its lowest weight up, mixtures, averages."""
    weights = one.unit.mixture.weights
    tasks, total = [task for task, _ in weights], sum(weight for _, weight in weights)
    return bool(one.unit.members), len(weights), tasks, total, one.name


def _half_to_plain(result: SearchResult, one: Candidate, plain: Candidate | None) -> float:
    """Half of the interval of the difference to plain, which is what counts; 0 where nothing tells."""
    if plain is None or one.unit.name == plain.unit.name:
        return 0.0
    half = (one.measured - plain.measured).half_width
    return result.metric.shown(half) if np.isfinite(half) else 0.0


def _chart(rows: _Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _color(rows: _Rows) -> alt.Color:
    lines = [line for line in _COLORS if any(row["line"] == line for row in rows)]
    scale = alt.Scale(domain=lines, range=[_COLORS[line] for line in lines])
    return alt.Color("line:N", title=None, scale=scale, legend=alt.Legend(orient="top"))


def _points(rows: _Rows, encoding: dict[str, Any]) -> list[alt.Chart]:
    """One a model, and a ring around what is handed over."""
    points = [_chart(rows).mark_point(filled=True, size=90).encode(**encoding)]
    if best := [row for row in rows if row["best"]]:  # an average has no losses to be shown by
        rings = _chart(best).mark_point(size=320)
        points.append(rings.encode(**{**encoding, "color": alt.value("#d8383f")}))
    return points


def _tooltip(**titles: str) -> list[alt.Tooltip]:
    (name, title), *numbers = titles.items()
    shown = [alt.Tooltip(f"{field}:Q", title=title, format=".4~g") for field, title in numbers]
    return [alt.Tooltip(f"{name}:N", title=title), *shown]


def _loss_matrix(models: Sequence[Candidate], tasks: Sequence[str]) -> NDArray[np.float64]:
    """``[n, m]`` validation losses of those models that have one for each task, else training losses; NaN."""
    known = [{**model.result.get("training", {}), **model.result.get("losses", {})} for model in models]
    rows = [[float(losses.get(task, np.nan)) for task in tasks] for losses in known]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(tasks))
