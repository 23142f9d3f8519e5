"""The report of ``psst adapt``: what to expect, each head, and which classes are taken for which."""

from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from psst.deploy import FewShotClassifier
from psst.deploy.adapt import Choice
from psst.page import Page
from psst.search.charts import vega

_PAIRS, _CLASSES = 10, 40  # shown, the most confused of more
_STEP = 26  # pixels a line
_BLUE, _GRAY = "#3f83d4", "#8a8a8a"  # seen on white and on black
_Names = list[str]


def adapt_page(
    output: Path, classifier: FewShotClassifier, choice: Choice, alike: str, seconds: float
) -> Page:
    """Return the report; its first table is that of the heads.

    Args:
        output: Folder of the classifier.
        classifier: Trained on all images.
        choice: Of its head.
        alike: What the intervals are over.
        seconds: That it took.
    """
    names = classifier.classes_.tolist()
    return Page(
        title=str(output),
        sentences=[
            f"Expect {_text(choice.nested)} of new images to be told right: choosing a head and training it, "
            "on images left out of both.",
            f"{classifier.n_examples_} images of {len(names)} classes; {choice.name} was trained on them all "
            f"in {seconds:.0f} s.",
        ],
        tables=[_heads(choice), *_pairs(choice, names)],
        charts={
            "Images left out told right, by head": _bars(choice),
            "Which class an image left out was told to be, as a share of its class": _matrix(choice, names),
        },
        script=vega(),
        commands=[f"psst classify {output} NEW_IMAGES --sheet sheet.png"],
        remark=f"Intervals: Wilson's, 95 %, over {alike}; the best of a column flatters, the first line does "
        "not.",
    )


def _heads(choice: Choice) -> Table:
    table = Table("head", Column("left out", justify="right"), "", box=SIMPLE_HEAD)
    table.title, table.title_justify = "Heads, on images left out", "left"
    for name, share in choice.candidates.items():
        table.add_row(name, _text(share), "chosen" if name == choice.name else "")
    return table


def _pairs(choice: Choice, names: _Names) -> list[Table]:
    """The pairs of classes with most mistakes; nothing without mistakes."""
    wrong = choice.confusion * (1 - np.eye(len(names), dtype=int))
    rows, columns = np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS], wrong.shape)
    table = Table("class", "taken for", Column("images", justify="right"), Column("of", justify="right"))
    table.title = f"Most confused, {wrong.sum()} mistakes in all"
    for row, column in zip(rows, columns, strict=True):
        if count := wrong[row, column]:
            table.add_row(names[row], names[column], str(count), str(choice.confusion[row].sum()))
    return [table] if table.row_count else []


def _bars(choice: Choice) -> dict[str, Any]:
    rows = [
        {"head": name, "pick": f"{name}, {_text(share)}", "share": mean, "low": low, "high": high}
        for name, share in choice.candidates.items()
        for mean, low, high in [[100 * end for end in share]]
    ]
    color = alt.when(alt.datum.head == choice.name).then(alt.value(_BLUE)).otherwise(alt.value(_GRAY))
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("head:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
        color=color,
        tooltip=[alt.Tooltip("pick:N", title="head")],
    )
    bars = chart.mark_bar(opacity=0.5).encode(x=alt.X("share:Q", title="% told right"))
    intervals = chart.mark_rule(strokeWidth=3).encode(x="low:Q", x2="high:Q")
    return _specification(alt.layer(bars, intervals), len(rows))


def _matrix(choice: Choice, names: _Names) -> dict[str, Any]:
    """Rows are the true classes; of many, those with most mistakes of either kind."""
    counts = choice.confusion
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-wrong, kind="stable")[:_CLASSES])
    share = counts / counts.sum(axis=1, keepdims=True)
    rows = [
        {"class": names[i], "told": names[j], "images": int(counts[i, j]), "share": float(share[i, j])}
        for i in shown
        for j in shown
        if counts[i, j]
    ]
    kept = [names[i] for i in shown]
    chart = alt.Chart(alt.InlineData(values=rows)).mark_rect()
    scale, axis = alt.Scale(domain=kept), alt.Axis(labelLimit=200)
    chart = chart.encode(
        x=alt.X("told:N", title="told to be", scale=scale, axis=axis),
        y=alt.Y("class:N", title="is", scale=scale, axis=axis),
        color=alt.Color(
            "share:Q", title=None, scale=alt.Scale(domain=[0, 1]), legend=alt.Legend(orient="top", format="%")
        ),
        tooltip=["class:N", "told:N", "images:Q", alt.Tooltip("share:Q", format=".0%")],
    )
    return _specification(chart, len(kept))


def _specification(chart: Any, lines: int) -> dict[str, Any]:
    """Of a chart as wide as the page, with the parameter that a click sets."""
    chart = chart.properties(width="container", height=_STEP * lines)
    found: dict[str, Any] = chart.add_params(alt.param(name="picked", value="")).to_dict()
    return found


def _text(share: tuple[float, float, float]) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * value for value in share))
