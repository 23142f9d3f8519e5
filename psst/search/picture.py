"""The picture of a search: accuracy over trade-offs, and the front of losses beside it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from psst.files import atomic_path
from psst.search.course import SEARCH
from psst.search.result import PLAIN, SearchResult, loss_matrix
from psst.search.unit import Candidate

_COLORS = {SEARCH: "#1f5fa8", PLAIN: "#555555", "fixed": "#b8651b", "grid": "#2e8540"}
_MOST = 14  # trade-offs along the axis


def draw_front(result: SearchResult, path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    figure = front_figure(result)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def front_figure(result: SearchResult) -> Figure:
    """Accuracy over trade-off with intervals, plain as a band, rivals as lines; losses beside it."""
    losses = loss_matrix(result.candidates, result.tasks)
    shown = bool(np.isfinite(losses).all(axis=1).any())
    return _figure(result, _draw_accuracies, *([_draw_losses] if shown else []))


def tradeoffs_figure(result: SearchResult) -> Figure:
    """The left part of `front_figure`."""
    return _figure(result, _draw_accuracies)


def losses_figure(result: SearchResult) -> Figure:
    """The right part of `front_figure`: models that lack a loss are left out."""
    return _figure(result, _draw_losses)


def _figure(result: SearchResult, *parts: Callable[[Axes, SearchResult], None]) -> Figure:
    figure = Figure(figsize=(11.0 if len(parts) > 1 else 6.6, 4.6), layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        draw(axes, result)
        axes.legend(fontsize=8, loc="best", framealpha=0.9)
    return figure


def _draw_accuracies(axes: Axes, result: SearchResult) -> None:
    """One column a trade-off, in the order of their weights; soups at the right end."""
    own = [one for one in result.found[SEARCH].candidates if np.isfinite(one.measured.metric)]
    names = list(dict.fromkeys(one.name for one in sorted(own, key=place)))[-_MOST:]
    columns = {name: column for column, name in enumerate(names)}
    own, plain = [one for one in own if one.name in columns], result.finals.get(PLAIN)
    looks = sorted({one.look for one in own if not one.members})
    for look in [*looks, None]:
        here = [one for one in own if (None if one.members else one.look) == look]
        shade = 1.0 if look is None else 0.35 + 0.65 * (looks.index(look) + 1) / len(looks)
        axes.errorbar(
            [columns[one.name] for one in here],
            [result.metric.shown(one.measured.metric) for one in here],
            yerr=[half_to_plain(result, one, plain) for one in here],
            fmt="D" if look is None else "o",
            label=("average of branches" if look is None else f"branches of look {look}") if here else None,
            capsize=3,
            markersize=6,
            color=_COLORS[SEARCH],
            alpha=shade,
        )
    _draw_rivals(axes, result)
    best = result.best
    if best.line == SEARCH and best.name in columns:
        value = result.metric.shown(best.measured.metric)
        axes.plot(columns[best.name], value, "o", ms=14, mfc="none", mec="#c4161c", label="handed over")
    axes.set_xticks(list(columns.values()), names, rotation=35, ha="right")
    axes.set_xlim(-0.6, max(columns.values(), default=0) + 0.6)
    axes.set_ylabel(f"validation {result.metric.label} {result.metric.unit}".rstrip())
    axes.set_title("Trade-offs that were tried", loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)


def _draw_rivals(axes: Axes, result: SearchResult) -> None:
    """Plain as a band as wide as its difference to the search is uncertain, the others as lines."""
    plain, search = result.finals.get(PLAIN), result.finals.get(SEARCH)
    for name, one in result.finals.items():
        if name == SEARCH:
            continue
        value, color = result.metric.shown(one.measured.metric), _COLORS.get(name, "#777777")
        dashes = "-" if name == PLAIN else "--"
        axes.axhline(value, color=color, ls=dashes, lw=1.2, label=f"{name}, same cost")
        if plain is not None and search is not None and name == PLAIN:
            half = result.metric.shown((search.measured - plain.measured).half_width or 0.0)
            axes.axhspan(value - half, value + half, color=color, alpha=0.12, lw=0)


def _draw_losses(axes: Axes, result: SearchResult) -> None:
    """Main loss over that of the first auxiliary task, or over their mean in logarithms."""
    losses = loss_matrix(result.candidates, result.tasks)
    kept = np.flatnonzero(np.isfinite(losses).all(axis=1))
    main, others = losses[kept, 0], np.exp(np.log(np.maximum(losses[kept, 1:], 1e-9)).mean(axis=1))
    lines = np.array([result.candidates[number].line.split(" ")[0] for number in kept.tolist()])
    for line in dict.fromkeys(lines.tolist()):
        here = lines == line
        color = _COLORS.get(line, "#777777")
        axes.scatter(others[here], main[here], s=34, color=color, label=line, alpha=0.8)
    front = np.flatnonzero(non_dominated(np.stack([main, others], axis=1)))
    front = front[np.argsort(others[front])]
    axes.plot(others[front], main[front], color="#999999", lw=1, zorder=0, label="front")
    what = f"{result.tasks[1]} loss" if len(result.tasks) == 2 else "auxiliary losses, geometric mean"
    axes.set_xlabel(f"validation {what}")
    axes.set_ylabel("validation main loss")
    axes.set_title("The same models as losses", loc="left", fontsize=10)
    axes.grid(alpha=0.3)


def non_dominated(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of losses ``[n, k]`` no other row is below in all."""
    import moocore

    kept: NDArray[np.bool_] = np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=bool)
    return kept


def place(one: Candidate) -> tuple[bool, int, float, str]:
    """Order along the axis: main only, single tasks by weight, mixtures, averages."""
    weights = one.mixture.weights
    return bool(one.members), len(weights), sum(weight for _, weight in weights), one.name


def half_to_plain(result: SearchResult, one: Candidate, plain: Candidate | None) -> float:
    """Half of the interval of the difference to plain, which is what counts; 0 where nothing tells."""
    if plain is None or one.unit == plain.unit:
        return 0.0
    return result.metric.shown((one.measured - plain.measured).half_width or 0.0)
