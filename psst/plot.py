"""Pictures of what a search has found, for notebooks and papers: each function returns a figure.

Example:
    >>> result = psst.search(MyModule, MyData(), max_steps=2000, monitor="val/accuracy")
    >>> psst.plot.front(result).savefig("front.svg")  # or .png, .pdf
"""

from psst.search.picture import front_figure as front
from psst.search.picture import losses_figure as losses
from psst.search.picture import tradeoffs_figure as tradeoffs

__all__ = ["front", "losses", "tradeoffs"]
