"""Draw how one batch goes from image files to the weight update: the picture of docs/architecture.md.

python benchmarks/architecture.py docs/architecture.svg
"""

import sys
from itertools import pairwise

import matplotlib as mpl
import matplotlib.patches
from matplotlib.figure import Figure

STATIONS = (
    ("image files", "a folder, an archive"),
    ("store", "psst.images\nread once, resized, one array"),
    ("sampler", "psst.episodes\nwhich images: seed, number"),
    ("stream", "psst.episodes\ngoes on after a resume"),
    ("data module", "psst.datamodules\nsettings, splits, pixels"),
    ("batch", "psst.episodes\nids, labels, episodes"),
    ("view", "psst.images\ncrop, turns, policy"),
    ("encode", "psst.tasks, psst.backbones\neach view once"),
    ("task", "psst.tasks, psst.fewshot\nfeatures to a named loss"),
    ("callback", "psst.callbacks, psst.pareto\nlosses to one gradient"),
    ("optimizer", "torch, Lightning\nthe weights change"),
)
PLACES = [(i, 0) for i in range(4)] + [(3 - i, 1) for i in range(4)] + [(i, 2) for i in range(3)]
COLORS = ("#dbe9f6", "#dff0d8", "#fdebd0")


def draw(path):
    """Three rows of boxes, read as a snake."""
    mpl.rcParams.update({"svg.hashsalt": "psst", "svg.fonttype": "path"})  # the same file at every run
    figure = Figure(figsize=(11, 4.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.55, 3.55), ylim=(2.5, -0.5))
    axes.axis("off")
    for (name, what), (x, y) in zip(STATIONS, PLACES, strict=True):
        box = {"boxstyle": "round,pad=0.02", "facecolor": COLORS[y], "edgecolor": "#555555"}
        axes.add_patch(mpl.patches.FancyBboxPatch((x - 0.4, y - 0.28), 0.8, 0.56, **box))
        axes.text(x, y - 0.15, name, ha="center", va="center", weight="bold", size=12)
        axes.text(x, y + 0.1, what, ha="center", va="center", size=9)
    for (x, y), (to_x, to_y) in pairwise(PLACES):
        dx, dy = 0.42 * (to_x - x), 0.3 * (to_y - y)
        ends = {"xy": (to_x - dx, to_y - dy), "xytext": (x + dx, y + dy)}
        axes.annotate("", arrowprops={"arrowstyle": "->", "color": "#555555", "linewidth": 1.6}, **ends)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


if __name__ == "__main__":
    draw(sys.argv[1])
