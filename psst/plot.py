"""Pictures of what a search has found, for notebooks and papers: each function returns an Altair chart.

Example:
    >>> result = psst.search(MyModule, MyData(), max_steps=2000, monitor="val/accuracy")
    >>> psst.plot.front(result).save("front.svg")  # or .png, .pdf
"""

from psst.search.charts import front as front
from psst.search.charts import losses as losses
from psst.search.charts import tradeoffs as tradeoffs

__all__ = ["front", "losses", "tradeoffs"]
