"""The picture of a front: losses of every model, the chosen one marked."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from psst.files import atomic_path
from psst.search.reports.measures import measure
from psst.search.result import Candidate, Metric, SearchResult

_Array = NDArray[np.float64]
_Place = Callable[[Candidate], tuple[float, float]]

_MARKS = {
    "anchor": ("s", "tab:blue"),
    "subproblem": ("o", "tab:orange"),
    "refined": ("h", "tab:olive"),
    "explored": ("D", "tab:green"),
    "tangent": ("P", "tab:purple"),
    "baseline": ("^", "tab:gray"),
}
_LEGENDS = {
    "anchor": "anchor (fixed weights from the warm start)",
    "subproblem": "subproblem (kept on its ray)",
    "refined": "subproblem inside the region",
    "explored": "average of neighbors",
    "tangent": "along the tangent",
    "baseline": "from scratch",
}

_RADII = (11.0, 20.0, 32.0, 46.0, 62.0, 80.0)  # of labels round their places, in points
_MARKER = 5.0  # half the width of a marker, in points


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
    places: list[_Place] = [partial(_losses, task, tasks[0]) for task in tasks[1:]]
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
        texts = {text: place(model) for text, model in _labeled(result).items()}
        _place_labels(axis, texts, [place(model) for model in models])
    return figure


def _losses(across: str, up: str, model: Candidate) -> tuple[float, float]:
    return model.losses[across], model.losses[up]


def _metric(across: str, metric: Metric, model: Candidate) -> tuple[float, float]:
    return model.losses[across], metric.shown(model.metric)


def _scatter(axis: Axes, models: list[Candidate], result: SearchResult, place: _Place) -> None:
    for kind, (marker, color) in _MARKS.items():
        points = [place(model) for model in models if model.result.get("way", model.kind) == kind]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, marker=marker, color=color, label=_LEGENDS[kind], s=36, zorder=2)
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


def _labeled(result: SearchResult) -> dict[str, Candidate]:
    """What a dense picture can name: the chosen model, its rivals, the knee, and the ends of the region."""
    front, models = (
        measure(result.candidates, result.baselines),
        {model.name: model for model in result.models},
    )
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


def _place_labels(
    axis: Axes, labels: Mapping[str, tuple[float, float]], points: Sequence[tuple[float, float]]
) -> None:
    """Write each label beside its place, the nearest free spot first, with a line where it is far."""
    figure = axis.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # the layout is known only then
    pixels = figure.dpi / 72.0
    centers = axis.transData.transform(np.asarray(points, dtype=np.float64))
    taken = [_box(center, np.full(2, _MARKER * pixels)) for center in centers]
    style: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "center",
        "va": "center",
        "fontsize": "x-small",
    }
    arrow = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 3}
    for text, place in labels.items():
        note = axis.annotate(text, place, xytext=(0.0, 0.0), arrowprops=arrow, zorder=4, **style)
        note.set_in_layout(False)
        size, center = note.get_window_extent(), axis.transData.transform(place)
        half = np.array([size.width, size.height]) / 2
        shifts = [
            (radius * pixels + half) * np.array([np.cos(angle), np.sin(angle)])
            for radius in _RADII
            for angle in np.radians(np.arange(0, 360, 30))
        ]
        covered = [
            _covered(_box(center + shift, half), np.stack(taken), np.array(axis.get_window_extent().extents))
            for shift in shifts
        ]
        shift = shifts[int(np.argmin(covered))]  # the nearest of those that cover nothing
        note.set_position((float(shift[0] / pixels), float(shift[1] / pixels)))
        taken.append(_box(center + shift, half))


def _box(center: _Array, half: _Array) -> _Array:
    """Left, lower, right and upper end, in pixels."""
    return np.concatenate([center - half, center + half])


def _covered(box: _Array, taken: _Array, inside: _Array) -> float:
    """Area that a box shares with those `taken`, ``[n, 4]``; very much if it is not `inside`."""
    shared = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])
    outside = (box[:2] < inside[:2]).any() or (box[2:] > inside[2:]).any()
    return float(np.maximum(shared, 0.0).prod(axis=1).sum()) + 1e6 * bool(outside)
