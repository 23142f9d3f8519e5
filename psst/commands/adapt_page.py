"""The report of ``psst adapt``: what to expect, each head, and which classes are taken for which."""

from pathlib import Path
from typing import Any

import altair as alt
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from psst.deploy import FewShotClassifier
from psst.deploy.adapt import Choice
from psst.page import Page, confusion_chart, confusion_tables, on_page

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
    expected = f"Expect {_text(choice.nested)} of new images to be told right"
    counts = f"{classifier.n_examples_} images of {len(names)} classes"
    return Page(
        title=str(output),
        sentences=[
            f"{expected}: choosing a head and training it, on images left out of both.",
            f"{counts}; {choice.name} was trained on them all in {seconds:.0f} s.",
        ],
        tables=[heads, *confusion_tables(choice.confusion, names)],
        charts={
            "Images left out told right, by head": _bars(choice),
            "Which class an image left out was told to be, as a share of its class": confusion_chart(
                choice.confusion, names
            ),
        },
        commands=[f"psst classify {output} NEW_IMAGES --sheet sheet.png"],
        remark=f"Intervals: Wilson's, 95 %, over {alike}; the best of a column flatters, the first line does "
        "not.",
    )


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
    intervals = chart.mark_rule(strokeWidth=3).encode(x="low:Q", x2="high:Q")
    return on_page(bars + intervals, lines=len(rows))


def _text(share: tuple[float, float, float]) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * value for value in share))
