"""The picture of a front: losses of every model, the chosen one marked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from psst.files import atomic_path
from psst.search.result import Candidate, Metric, SearchResult

__all__ = ["draw_front"]

MARKS = {
    "anchor": ("s", "tab:blue"),
    "subproblem": ("o", "tab:orange"),
    "explored": ("D", "tab:green"),
    "baseline": ("^", "tab:gray"),
}
LEGENDS = {
    "anchor": "anchor (fixed weights from the warm start)",
    "subproblem": "subproblem (kept on its ray)",
    "explored": "average of neighbors",
    "baseline": "from scratch",
}


def draw_front(result: SearchResult, path: Path) -> None:
    """Draw main loss against each auxiliary loss, and the metric that chooses along the first one."""
    tasks = list(result.candidates[0].losses)
    models = result.models
    size = (6.2 * len(tasks), 5.4)
    figure = Figure(figsize=size, layout="constrained")  # no pyplot: no display, no global state
    axes = figure.subplots(1, len(tasks), squeeze=False)
    for axis, task in zip(axes[0], tasks[1:], strict=False):
        axis.set(
            xlabel=f"{task} loss ({result.losses_from})",
            ylabel=f"{tasks[0]} loss ({result.losses_from})",
            title="Losses: lower left is better",
        )
        _scatter(axis, models, result, partial(_losses, task, tasks[0]))
    last = axes[0][-1]
    last.set(
        xlabel=f"{tasks[1]} loss ({result.losses_from})",
        ylabel=f"{result.metric.label}{', %' if result.metric.unit else ''} (validation)",
        title="What chooses",
    )
    _scatter(last, models, result, partial(_metric, tasks[1], result.metric))
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _losses(across: str, up: str, model: Candidate) -> tuple[float, float]:
    return model.losses[across], model.losses[up]


def _metric(across: str, metric: Metric, model: Candidate) -> tuple[float, float]:
    return model.losses[across], metric.shown(model.metric)


def _scatter(
    axis: Axes,
    models: list[Candidate],
    result: SearchResult,
    place: Callable[[Candidate], tuple[float, float]],
) -> None:
    for kind, (marker, color) in MARKS.items():
        points = [place(model) for model in models if model.kind == kind]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, marker=marker, color=color, label=LEGENDS[kind], s=36, zorder=2)
    for model in models:
        if model.kind in ("anchor", "baseline"):
            offset = (5, 4) if model.kind == "anchor" else (5, -11)  # a twin of an anchor stays legible
            axis.annotate(
                model.name, place(model), xytext=offset, textcoords="offset points", fontsize="x-small"
            )
    members = [place(model) for model in models if model.name in result.region]
    x, y = zip(*members, strict=True)
    axis.scatter(x, y, s=110, facecolors="none", edgecolors="tab:orange", label="region", zorder=1)
    chosen = next(model for model in models if model.name == result.chosen)
    x_chosen, y_chosen = place(chosen)
    label = f"chosen: {chosen.name}"
    axis.scatter([x_chosen], [y_chosen], s=190, marker="*", color="tab:red", label=label, zorder=3)
    axis.margins(0.12)
    axis.grid(alpha=0.3)
