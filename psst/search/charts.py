"""Charts of a search for its report, in which a click picks a model in all of them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray

from psst.search.course import SEARCH
from psst.search.folds import FROZEN, OWN
from psst.search.picture import half_to_plain, non_dominated, place
from psst.search.result import PLAIN, SearchResult, loss_matrix
from psst.search.unit import Candidate

__all__ = ["charts_of", "vega"]

_COLORS = {  # seen on white and on black
    SEARCH: "#3f83d4",
    PLAIN: "#8a8a8a",
    "fixed": "#d07c2e",
    "grid": "#3f9d54",
    FROZEN: "#8e6bbf",
    OWN: "#c2568f",
}
_PICKED = "picked == '' || datum.pick == picked"
_SHOWN = alt.when(_PICKED).then(alt.value(1.0)).otherwise(alt.value(0.25))
_STEP = 26  # pixels a line
Rows = list[dict[str, Any]]


@cache
def vega() -> str:
    """Return the JavaScript that draws Vega-Lite charts; it asks no network."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    return script


def charts_of(result: SearchResult, picks: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return Vega-Lite specifications by heading: trade-offs, losses where they are known, costs.

    Args:
        result: Of the search.
        picks: How the table calls each unit.
    """
    judged = [one for one in result.candidates if np.isfinite(one.measured.metric)]
    made = {"Trade-offs that were tried": _tradeoffs(result, [_row(result, one, picks) for one in judged])}
    losses = loss_matrix(judged, result.tasks)
    known = np.flatnonzero(np.isfinite(losses).all(axis=1))
    if len(known) > 1:
        rows = [_row(result, judged[i], picks) for i in known]
        made["The same models as losses"] = _losses(result, rows, losses[known])
    made["What each has cost"] = _costs(result)
    picked = alt.param(name="picked", value="")
    return {
        heading: chart.add_params(picked).properties(width="container").to_dict()
        for heading, chart in made.items()
    }


def _row(result: SearchResult, one: Candidate, picks: Mapping[str, str]) -> dict[str, Any]:
    half = half_to_plain(result, one, result.finals.get(PLAIN))
    value = result.metric.shown(one.measured.metric)
    return {
        "model": one.name,
        "line": one.line.split(" ")[0],
        "value": value,
        "low": value - half,
        "high": value + half,
        "place": place(one),
        "pick": picks[one.unit],
        "best": one.unit == result.best.unit,
    }


def _tradeoffs(result: SearchResult, rows: Rows) -> Any:
    """Accuracy of each, with the interval of its difference to plain; plain is the band."""
    label = f"validation {result.metric.label} {result.metric.unit}".rstrip()
    order = list(dict.fromkeys(row["model"] for row in sorted(rows, key=lambda row: row["place"])))
    encoding: dict[str, Any] = {
        "x": alt.X("value:Q", title=label, scale=alt.Scale(zero=False)),
        "y": alt.Y("model:N", title=None, sort=order, axis=alt.Axis(labelLimit=150)),
        "color": _color(rows),
        "opacity": _SHOWN,
        "tooltip": _tooltip(pick="model", value=label, low="from", high="to"),
    }
    intervals = _chart(rows).mark_rule(strokeWidth=2).encode(**{**encoding, "x": "low:Q", "x2": "high:Q"})
    layers = [intervals, *_points(rows, encoding)]
    plain, search = result.finals.get(PLAIN), result.finals.get(SEARCH)
    if plain is not None and search is not None:
        half, middle = half_to_plain(result, search, plain), result.metric.shown(plain.measured.metric)
        band = _chart([{"low": middle - half, "high": middle + half}]).encode(x="low:Q", x2="high:Q")
        layers.insert(0, band.mark_rect(color=_COLORS[PLAIN], opacity=0.2))
    return alt.layer(*layers).properties(height=_STEP * len(order))


def _losses(result: SearchResult, rows: Rows, losses: NDArray[np.float64]) -> Any:
    """Main loss over that of the auxiliary task, or over their mean in logarithms, with the front."""
    others = np.exp(np.log(np.maximum(losses[:, 1:], 1e-9)).mean(axis=1))
    front = non_dominated(np.stack([losses[:, 0], others], axis=1))
    parts = zip(rows, losses[:, 0].tolist(), others.tolist(), strict=True)
    rows = [{**row, "main": main, "other": other} for row, main, other in parts]
    what = f"{result.tasks[1]} loss" if len(result.tasks) == 2 else "auxiliary losses, geometric mean"
    encoding: dict[str, Any] = {
        "x": alt.X("other:Q", title=what, scale=alt.Scale(zero=False)),
        "y": alt.Y("main:Q", title="main loss", scale=alt.Scale(zero=False)),
    }
    best = _chart([row for row, kept in zip(rows, front.tolist(), strict=True) if kept])
    line = best.mark_line(color=_COLORS[PLAIN], strokeDash=[4, 3]).encode(**encoding)
    encoding |= {"color": _color(rows), "opacity": _SHOWN}
    tooltip = _tooltip(pick="model", main="main loss", other=what)
    return alt.layer(line, *_points(rows, {**encoding, "tooltip": tooltip})).properties(height=260)


def _costs(result: SearchResult) -> Any:
    """Passes of the search and of each rival."""
    rows = [
        {"line": name, "passes": result.passes(name), "seconds": result.seconds(name)}
        for name in result.found
    ]
    encoding: dict[str, Any] = {
        "x": alt.X("passes:Q", title="passes"),
        "y": alt.Y("line:N", title=None, sort=None),
        "color": _color(rows).legend(None),
        "tooltip": _tooltip(line="line", passes="passes", seconds="seconds"),
    }
    return _chart(rows).mark_bar().encode(**encoding).properties(height=_STEP * len(rows))


def _chart(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _color(rows: Rows) -> alt.Color:
    lines = [line for line in _COLORS if any(row["line"] == line for row in rows)]
    scale = alt.Scale(domain=lines, range=[_COLORS[line] for line in lines])
    return alt.Color("line:N", title=None, scale=scale, legend=alt.Legend(orient="top"))


def _points(rows: Rows, encoding: dict[str, Any]) -> list[alt.Chart]:
    """One a model, and a ring around what is handed over."""
    points = [_chart(rows).mark_point(filled=True, size=90).encode(**encoding)]
    best = [row for row in rows if row["best"]]
    if best:
        points.append(_chart(best).mark_point(size=320).encode(**{**encoding, "color": alt.value("#d8383f")}))
    return points


def _tooltip(**titles: str) -> list[alt.Tooltip]:
    (name, title), *numbers = titles.items()
    shown = [alt.Tooltip(f"{field}:Q", title=title, format=".4~g") for field, title in numbers]
    return [alt.Tooltip(f"{name}:N", title=title), *shown]
