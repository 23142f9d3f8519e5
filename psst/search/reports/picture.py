"""The picture of a front: losses of every model, the chosen one marked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from psst.files import atomic_path
from psst.search.reports.labels import place_labels
from psst.search.reports.measures import measure
from psst.search.result import Candidate, Metric, SearchResult

__all__ = ["draw_front", "front_figure"]

Place = Callable[[Candidate], tuple[float, float]]

MARKS = {
    "anchor": ("s", "tab:blue"),
    "subproblem": ("o", "tab:orange"),
    "refined": ("h", "tab:olive"),
    "explored": ("D", "tab:green"),
    "tangent": ("P", "tab:purple"),
    "neighboring ray": ("X", "tab:brown"),
    "baseline": ("^", "tab:gray"),
}
LEGENDS = {
    "anchor": "anchor (fixed weights from the warm start)",
    "subproblem": "subproblem (kept on its ray)",
    "refined": "subproblem inside the region",
    "explored": "average of neighbors",
    "tangent": "along the tangent",
    "neighboring ray": "from a neighbor, on its ray",
    "baseline": "from scratch",
}


def draw_front(result: SearchResult, path: Path) -> None:
    """Draw the picture of a search to a PNG file."""
    figure = front_figure(result)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def front_figure(result: SearchResult) -> Figure:
    """Draw main loss against each auxiliary loss, and the metric that chooses along the first one."""
    tasks = list(result.candidates[0].losses)
    models = result.models
    size = (6.2 * len(tasks), 5.4)
    figure = Figure(figsize=size, dpi=120, layout="constrained")  # no pyplot: no display, no global state
    axes = figure.subplots(1, len(tasks), squeeze=False)
    places: list[Place] = [partial(_losses, task, tasks[0]) for task in tasks[1:]]
    places.append(partial(_metric, tasks[1], result.metric))
    for axis, task in zip(axes[0], tasks[1:], strict=False):
        axis.set(
            xlabel=f"{task} loss ({result.losses_from})",
            ylabel=f"{tasks[0]} loss ({result.losses_from})",
            title="Losses: lower left is better",
        )
    last = axes[0][-1]
    last.set(
        xlabel=f"{tasks[1]} loss ({result.losses_from})",
        ylabel=f"{result.metric.label}{', %' if result.metric.unit else ''} (validation)",
        title="What chooses",
    )
    for axis, place in zip(axes[0], places, strict=True):
        _scatter(axis, models, result, place)
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    for axis, place in zip(axes[0], places, strict=True):
        texts = {text: place(model) for text, model in labeled(result).items()}
        place_labels(axis, texts, [place(model) for model in models])
    return figure


def _losses(across: str, up: str, model: Candidate) -> tuple[float, float]:
    return model.losses[across], model.losses[up]


def _metric(across: str, metric: Metric, model: Candidate) -> tuple[float, float]:
    return model.losses[across], metric.shown(model.metric)


def _scatter(
    axis: Axes,
    models: list[Candidate],
    result: SearchResult,
    place: Place,
) -> None:
    for kind, (marker, color) in MARKS.items():
        points = [place(model) for model in models if model.result.get("way", model.kind) == kind]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, marker=marker, color=color, label=LEGENDS[kind], s=36, zorder=2)
    members = [place(model) for model in models if model.name in result.region]
    if members:
        x, y = zip(*members, strict=True)
        axis.scatter(x, y, s=110, facecolors="none", edgecolors="tab:orange", label="region", zorder=1)
    chosen = next(model for model in models if model.name == result.chosen)
    x_chosen, y_chosen = place(chosen)
    label = f"chosen: {chosen.name}"
    axis.scatter([x_chosen], [y_chosen], s=190, marker="*", color="tab:red", label=label, zorder=3)
    axis.margins(0.15)
    axis.grid(alpha=0.3)


def labeled(result: SearchResult) -> dict[str, Candidate]:
    """What a dense picture can name: the chosen model, its rivals, the knee, and the ends of the region."""
    front, models = measure(result), {model.name: model for model in result.models}
    along = list(result.best.losses)[1]
    inside = sorted((models[name] for name in result.region), key=lambda model: model.losses[along])
    words: dict[str, list[str]] = {result.chosen: ["chosen"]}
    for name, word in ((front.knee if front else None, "knee"), ("plain", ""), (result.best_fixed, "")):
        if name in models:
            words.setdefault(str(name), []).append(word)
    for end in inside[:1] + inside[-1:]:
        words.setdefault(end.name, []).append("end of the region" if len(inside) > 1 else "")
    texts = {name: ", ".join(filter(None, said)) for name, said in words.items()}
    return {f"{name} ({text})" if text else name: models[name] for name, text in texts.items()}
