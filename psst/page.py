"""A report as one HTML file that asks no network: sentences, tables, charts, commands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.table import Table

from psst.files import write_atomic


@cache
def _vega() -> str:
    """Return the JavaScript that draws Vega-Lite charts, which defines ``vegaEmbed``; it asks no network."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    return script


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
