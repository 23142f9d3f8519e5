"""Which classes are taken for which: a table of pairs and a chart, for reports."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

_STEP = 26  # pixels a line
_PAIRS, _CLASSES = 10, 40  # shown, the most confused of more


def confusion_tables(counts: npt.NDArray[np.int64], names: Sequence[str]) -> Iterator[Table]:
    """Give a table of the pairs of classes with most mistakes, if there are any.

    Args:
        counts: ``[n, n]`` images of a class, a row, that were told to be of another.
        names: Of the n classes.
    """
    wrong = counts - np.diag(counts.diagonal())
    pairs = np.argsort(-wrong, axis=None, kind="stable")[: min(_PAIRS, np.count_nonzero(wrong))]
    columns = [Column(name, justify="right") for name in ("images", "of")]
    table = Table("class", "taken for", *columns, box=SIMPLE_HEAD, title_justify="left")
    table.title = f"Most confused, {wrong.sum()} mistakes in all"
    for i, j in zip(*np.unravel_index(pairs, wrong.shape), strict=True):
        table.add_row(names[i], names[j], str(wrong[i, j]), str(counts[i].sum()))
    if len(pairs):
        yield table


def confusion_chart(counts: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
    """Return the chart of ``[n, n]`` counts: rows are true classes; of many, those with most mistakes."""
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
    return on_page(chart.mark_rect(), lines=len(shown))


def on_page(chart: Any, lines: int) -> dict[str, Any]:
    """Return what `psst.page.Page` draws: as wide as the page, with the parameter that a click sets."""
    chart = chart.properties(width="container", height=_STEP * lines)
    return dict(chart.add_params(alt.param(name="picked", value="")).to_dict())
