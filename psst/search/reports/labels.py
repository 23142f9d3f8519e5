"""Labels beside points of a picture, where they cover neither points nor each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

__all__ = ["place_labels"]

RADII = (11.0, 20.0, 32.0, 46.0, 62.0, 80.0)
ANGLES = tuple(range(0, 360, 30))
MARKER = 5.0
"""Half the width of a marker, in points."""


def place_labels(
    axis: Axes, labels: Mapping[str, tuple[float, float]], points: Sequence[tuple[float, float]]
) -> list[Annotation]:
    """Write each label beside its place, the nearest free spot first, with a line where it is far.

    Args:
        axis: With everything drawn that the labels must not cover; its limits are kept.
        labels: Text to its place, in data coordinates; earlier ones are placed first.
        points: All markers, in data coordinates.
    """
    figure = axis.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # the layout is known only then
    pixels = figure.dpi / 72.0
    centers = axis.transData.transform(np.asarray(points, dtype=np.float64))
    taken = [_box(center, MARKER * pixels, MARKER * pixels) for center in centers]
    inside = axis.get_window_extent()
    notes = []
    for text, place in labels.items():
        note = axis.annotate(
            text,
            place,
            xytext=(0.0, 0.0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize="x-small",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 0, "shrinkB": 3},
            zorder=4,
        )
        note.set_in_layout(False)
        size = note.get_window_extent()
        center = axis.transData.transform(place)
        offset, box = _spot(center, (size.width / 2, size.height / 2), pixels, taken, inside)
        note.set_position(offset)
        taken.append(box)
        notes.append(note)
    return notes


def _spot(
    center: np.ndarray,
    half: tuple[float, float],
    pixels: float,
    taken: Sequence[Bbox],
    inside: Bbox,
) -> tuple[tuple[float, float], Bbox]:
    """The nearest offset, in points, whose box covers least: nothing, if there is such a one."""
    best: tuple[float, tuple[float, float], Bbox] | None = None
    for radius in RADII:
        for angle in ANGLES:
            across, up = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            shift = np.array([(radius * pixels + half[0]) * across, (radius * pixels + half[1]) * up])
            box = _box(center + shift, *half)
            outside = not (
                inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            )
            covered = sum(_overlap(box, other) for other in taken) + 1e6 * outside
            offset = (float(shift[0] / pixels), float(shift[1] / pixels))
            if best is None or covered < best[0]:
                best = (covered, offset, box)
            if not covered:
                return offset, box
    assert best is not None
    return best[1], best[2]


def _box(center: np.ndarray, half_width: float, half_height: float) -> Bbox:
    x, y = float(center[0]), float(center[1])
    return Bbox([[x - half_width, y - half_height], [x + half_width, y + half_height]])


def _overlap(one: Bbox, other: Bbox) -> float:
    """Area that two boxes share."""
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)
