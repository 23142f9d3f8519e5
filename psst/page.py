"""A report as one HTML file that asks no network: sentences, tables, charts, commands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.table import Table

from psst.files import write_atomic

__all__ = ["Page", "write_page"]


@dataclass(frozen=True)
class Page:
    """What a report says.

    Attributes:
        title: Of the window.
        sentences: The verdict first.
        tables: Those of the screen; a click on a row of the first picks what its first two cells name.
        charts: Vega-Lite specifications by their headings, each with a parameter ``picked``.
        script: JavaScript that defines ``vegaEmbed``; empty without charts.
        commands: What to do next.
        remark: Small print.
    """

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    charts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    script: str = ""
    commands: Sequence[str] = ()
    remark: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write the file, whole or not at all.

    Example:
        >>> write_page(Page("runs/birds", ["Handed over: plain."]), Path("report.html"))
    """
    first, *rest = page.sentences
    body = [f"<h1>{escape(first)}</h1>", "<ul>", *(f"<li>{escape(one)}</li>" for one in rest), "</ul>"]
    for number, table in enumerate(page.tables):
        body.append(_table(table, picks=number == 0))
    for number, heading in enumerate(page.charts):
        body.append(f'<h2>{escape(heading)}</h2>\n<div class="chart" id="chart{number}"></div>')
    if page.commands:
        body.append(f"<h2>What to do next</h2>\n<pre>{escape(chr(10).join(page.commands))}</pre>")
    body.append(f"<footer>{escape(page.remark)}</footer>")
    charts = json.dumps(list(page.charts.values())).replace("</", "<\\/")  # no end of the script in a name
    text = (files("psst") / "page.html").read_text(encoding="utf-8")
    parts = {"title": escape(page.title), "body": "\n".join(body), "charts": charts, "script": page.script}
    head, *pieces = text.split("{{")
    for piece in pieces:
        name, _, after = piece.partition("}}")
        head += parts[name] + after
    write_atomic(path, head)


def _table(table: Table, picks: bool) -> str:
    sides = ["right" if column.justify == "right" else "left" for column in table.columns]
    names = [_cell("th", str(column.header), side) for column, side in zip(table.columns, sides, strict=True)]
    lines = [f'<div class="wide"><table>\n<caption>{escape(str(table.title))}</caption>', _row(names)]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        texts = [str(cell) for cell in cells]
        name = f' data-pick="{escape(", ".join(texts[:2]))}"' if picks else ""
        lines.append(_row([_cell("td", text, side) for text, side in zip(texts, sides, strict=True)], name))
    return "\n".join([*lines, "</table></div>"])


def _row(cells: Sequence[str], name: str = "") -> str:
    return f"<tr{name}>{''.join(cells)}</tr>"


def _cell(kind: str, text: str, side: str) -> str:
    return f'<{kind} class="{side}">{escape(text)}</{kind}>'
