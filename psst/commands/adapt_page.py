"""The report of ``psst adapt``: what to expect, each head, and which classes are taken for which."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from psst.deploy import FewShotClassifier
from psst.deploy.adapt import Choice
from psst.page import Page, vega

_PAIRS, _CLASSES = 10, 40  # shown, the most confused of more
_STEP = 26  # pixels a line
_BLUE, _GRAY = "#3f83d4", "#8a8a8a"  # seen on white and on black


def adapt_page(
    output: Path, classifier: FewShotClassifier, choice: Choice, alike: str, seconds: float
) -> Page:
    """Return the report of a classifier and of what its intervals are over; the heads are its first table."""
    names = classifier.classes_.tolist()
    heads = Table("head", Column("left out", justify="right"), "", box=SIMPLE_HEAD)
    heads.title, heads.title_justify = "Heads, on images left out", "left"
    for name, share in choice.candidates.items():
        heads.add_row(name, _text(share), "chosen" if name == choice.name else "")
    expected = (
        f"Expect {_text(choice.nested)} of new images to be told right: choosing a head and training it, "
    )
    counts = f"{classifier.n_examples_} images of {len(names)} classes"
    return Page(
        title=str(output),
        sentences=[
            f"{expected}on images left out of both.",
            f"{counts}; {choice.name} was trained on them all in {seconds:.0f} s.",
        ],
        tables=[heads, *_confused(choice, names)],
        charts={
            "Images left out told right, by head": _bars(choice),
            "Which class an image left out was told to be, as a share of its class": _matrix(choice, names),
        },
        script=vega(),
        commands=[f"psst classify {output} NEW_IMAGES --sheet sheet.png"],
        remark=f"Intervals: Wilson's, 95 %, over {alike}; the best of a column flatters, the first line does "
        "not.",
    )


def _confused(choice: Choice, names: list[str]) -> Iterator[Table]:
    """The pairs of classes with most mistakes, if there are any."""
    wrong = choice.confusion - np.diag(choice.confusion.diagonal())
    pairs = np.argsort(-wrong, axis=None, kind="stable")[: min(_PAIRS, np.count_nonzero(wrong))]
    table = Table("class", "taken for", Column("images", justify="right"), Column("of", justify="right"))
    table.title = f"Most confused, {wrong.sum()} mistakes in all"
    for i, j in zip(*np.unravel_index(pairs, wrong.shape), strict=True):
        table.add_row(names[i], names[j], str(wrong[i, j]), str(choice.confusion[i].sum()))
    if len(pairs):
        yield table


def _bars(choice: Choice) -> dict[str, Any]:
    rows = [
        {"head": name, "pick": f"{name}, {_text(share)}"}
        | {key: 100 * end for key, end in zip(("mean", "low", "high"), share, strict=True)}
        for name, share in choice.candidates.items()
    ]
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("head:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
        color=alt.when(alt.datum.head == choice.name).then(alt.value(_BLUE)).otherwise(alt.value(_GRAY)),
        tooltip=alt.Tooltip("pick:N", title="head"),
    )
    bars = chart.mark_bar(opacity=0.5).encode(x=alt.X("mean:Q", title="% told right"))
    return _wide(bars + chart.mark_rule(strokeWidth=3).encode(x="low:Q", x2="high:Q"), len(rows))


def _matrix(choice: Choice, names: list[str]) -> dict[str, Any]:
    """Rows are the true classes; of many, those with most mistakes of either kind."""
    counts = choice.confusion
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-wrong, kind="stable")[:_CLASSES])
    rows = [
        {
            "class": names[i],
            "told": names[j],
            "images": int(counts[i, j]),
            "share": counts[i, j] / counts[i].sum(),
        }
        for i, j in np.argwhere(counts)
        if i in shown and j in shown
    ]
    scale, axis = alt.Scale(domain=[names[i] for i in shown]), alt.Axis(labelLimit=200)
    legend = alt.Legend(orient="top", format="%")
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("told:N", title="told to be", scale=scale, axis=axis),
        y=alt.Y("class:N", title="is", scale=scale, axis=axis),
        color=alt.Color("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), legend=legend),
        tooltip=["class:N", "told:N", "images:Q", alt.Tooltip("share:Q", format=".0%")],
    )
    return _wide(chart.mark_rect(), len(shown))


def _wide(chart: Any, lines: int) -> dict[str, Any]:
    """As wide as the page, with the parameter that a click sets."""
    chart = chart.properties(width="container", height=_STEP * lines)
    return dict(chart.add_params(alt.param(name="picked", value="")).to_dict())


def _text(share: tuple[float, float, float]) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * value for value in share))
