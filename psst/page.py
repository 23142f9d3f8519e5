"""A report as one HTML file that asks no network: sentences, tables, charts, commands.

Among them which classes are taken for which.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from psst.files import write_atomic

_STEP = 26  # pixels a line of a chart
_PAIRS, _CLASSES = 10, 40  # shown, the most confused of more


@cache
def _vega() -> str:
    """Return the JavaScript that draws Vega-Lite charts, which defines ``vegaEmbed``; it asks no network."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version))


@dataclass(frozen=True)
class Page:
    """What a report says."""

    title: str  # of the window
    sentences: Sequence[str]  # the verdict first
    tables: Sequence[Table] = ()  # a click on a row of the first picks what its first two cells name
    charts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # Vega-Lite, by heading
    commands: Sequence[str] = ()  # what to do next
    remark: str = ""  # small print

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        parts = {
            "title": escape(self.title),
            "verdict": escape(self.sentences[0]),
            "sentences": "".join(f"<li>{escape(one)}</li>" for one in self.sentences[1:]),
            "tables": "".join(_table(table, number == 0) for number, table in enumerate(self.tables)),
            "places": "".join(
                f'<h2>{escape(heading)}</h2><div class="chart" id="chart{number}"></div>\n'
                for number, heading in enumerate(self.charts)
            ),
            "commands": escape("\n".join(self.commands)),
            "remark": escape(self.remark),
            "charts": json.dumps(list(self.charts.values())).replace("<", "\\u003c"),  # no tag in a name
            "script": _vega() if self.charts else "",
        }
        text, *pieces = (files("psst") / "page.html").read_text(encoding="utf-8").split("{{")
        for name, _, after in (piece.partition("}}") for piece in pieces):
            text += parts[name] + after
        write_atomic(path, text)


def _table(table: Table, picks: bool) -> str:
    """As HTML; `picks` names each row by its first two cells."""
    sides = ["right" if column.justify == "right" else "left" for column in table.columns]
    rows = [_row("th", [str(column.header) for column in table.columns], sides)]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        texts = [str(cell) for cell in cells]
        name = f' data-pick="{escape(", ".join(texts[:2]))}"' if picks else ""
        rows.append(_row("td", texts, sides, name))
    caption = f"<caption>{escape(str(table.title))}</caption>"
    return "\n".join([f'<div class="wide"><table>{caption}', *rows, "</table></div>\n"])


def _row(kind: str, texts: Sequence[str], sides: Sequence[str], name: str = "") -> str:
    cells = [
        f'<{kind} class="{side}">{escape(text)}</{kind}>' for text, side in zip(texts, sides, strict=True)
    ]
    return f"<tr{name}>{''.join(cells)}</tr>"


def confusion_tables(counts: npt.NDArray[np.int64], names: Sequence[str]) -> Iterator[Table]:
    """Give the table of pairs of classes with most mistakes, if any; counts as of `confusion_chart`."""
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
    """Return the chart of ``[n, n]`` images of each class, a row, told to be of which; the worst of many."""
    import altair as alt

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
    """Return what `Page` draws: as wide as the page, with the parameter that a click sets."""
    import altair as alt

    chart = chart.properties(width="container", height=_STEP * lines)
    return dict(chart.add_params(alt.param(name="picked", value="")).to_dict())
