"""The front while it grows, for TensorBoard: the best so far, the hypervolume, and the picture."""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psst.search.ranks import first_only
from psst.search.reports.measures import measure
from psst.search.result import Candidate, Metric, SearchResult

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

_SHARE = 0.02
"""Of the time that pictures may take."""
_CANDIDATES = ("anchor", "subproblem", "refined", "explored")


class LiveFront:
    """Writes scalars after each finished unit, over the optimizer steps spent by all of them, and pictures.

    A search that goes on adds to what it has written before. Pictures are drawn when one is due, for they
    take longer than a small unit's training; the last one always is. The hypervolume is measured by all
    `n_anchors`, so it begins with the last of them.
    """

    def __init__(self, folder: Path, metric: Metric, n_anchors: int, max_steps: int) -> None:
        self.folder = folder
        self.metric = metric
        self.n_anchors = n_anchors
        self.max_steps = max_steps
        self.models: dict[str, Candidate] = {}
        self._next_picture = 0.0

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far."""
        found = [model for model in self.models.values() if model.kind in _CANDIDATES]
        return max(found, key=lambda model: self.metric.quality(model.metric), default=None)

    def add(self, model: Candidate, units: Mapping[str, Mapping[str, Any]], told: bool = True) -> None:
        """Take a finished unit; warm starts and parts of subproblems are no candidates and change nothing.

        With `told` false nothing is written: an earlier run has done it.
        """
        if model.kind not in (*_CANDIDATES, "baseline"):
            return
        self.models[model.name] = model
        best = self.best
        if told and best is not None:
            self._write(best, units)

    @first_only
    def _write(self, best: Candidate, units: Mapping[str, Mapping[str, Any]]) -> None:
        steps = _spent(units)
        candidates = [one for one in self.models.values() if one.kind in _CANDIDATES]
        scalars = {f"best/{self.metric.label}": best.metric, "front/n_candidates": float(len(candidates))}
        if sum(one.kind == "anchor" for one in candidates) == self.n_anchors:
            front = measure(candidates, [])
            scalars |= {} if front is None else {"front/hypervolume": front.hypervolume}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, steps)
        if time.monotonic() >= self._next_picture:
            baselines = [one for one in self.models.values() if one.kind == "baseline"]
            best_file, run = self.folder / "best.ckpt", (units, self.max_steps)
            self._draw(SearchResult(self.metric, candidates, baselines, [], best.name, best_file, {}, *run))
        self._writer.flush()

    @first_only
    def close(self, result: SearchResult) -> None:
        """Write the last picture, region and choice in it, and close the file."""
        self._draw(result)
        self._writer.close()

    @cached_property
    def _writer(self) -> "SummaryWriter":
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"))

    def _draw(self, result: SearchResult) -> None:
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from psst.search.reports.picture import front_figure

        began = time.monotonic()
        canvas = FigureCanvasAgg(front_figure(result))
        canvas.draw()  # type: ignore[no-untyped-call]  # untyped in matplotlib
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]  # as above
        self._writer.add_image("front", pixels, _spent(result.units), dataformats="HWC")
        ended = time.monotonic()
        self._next_picture = ended + (ended - began) / _SHARE


def _spent(units: Mapping[str, Mapping[str, Any]]) -> int:
    """Optimizer steps of all finished units."""
    return round(sum(float(unit.get("steps", 0)) for unit in units.values()))
