"""The units of a search: what is trained, from where, and for how many steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from psst.components import instantiate
from psst.pareto import Method
from psst.search.settings import SearchSettings


@dataclass(frozen=True)
class Unit:
    """One training run."""

    name: str  # also the name of the unit's folder
    kind: str  # `warm`, `anchor`, `subproblem` or `baseline`
    method: dict[str, Any]  # class path and arguments of what weighs the task gradients
    start: int  # optimizer step; above 0 it goes on from the warm start
    stop: int  # optimizer step at which it ends

    @property
    def steps(self) -> int:
        """Optimizer steps that this unit costs."""
        return self.stop - self.start


def fixed_weights(weights: Sequence[float]) -> dict[str, Any]:
    """Describe fixed weights on the auxiliary losses."""
    return {"class_path": "psst.pareto.FixedWeights", "init_args": {"auxiliary": list(weights)}}


def ray_method(settings: SearchSettings, rays_file: str, index: int) -> dict[str, Any]:
    """Describe the method that keeps a subproblem on a ray."""
    arguments: dict[str, Any] = {"rays": rays_file}
    if settings.min_main_share > 0:  # not every method knows such a bound
        arguments["min_main_share"] = settings.min_main_share
    return {"class_path": settings.method, "init_args": {**arguments, "index": index}}


class Schedule:
    """Lays out the units of a search with m - 1 auxiliary tasks; the user has `spelled` T as `max_steps`.

    Raises:
        TypeError: The subproblems' method is no `psst.pareto.Method`, or takes neither a ray nor the bound.
        ValueError: There is no auxiliary task, T is too short to be divided, or nothing importable is named.
    """

    def __init__(
        self,
        settings: SearchSettings,
        max_steps: int,
        auxiliary_names: Sequence[str],
        spelled: str = "trainer.max_steps",
    ) -> None:
        if not auxiliary_names:
            raise ValueError(
                "`model.init_args.auxiliary=[]` leaves nothing to trade off; name an auxiliary task such as "
                "psst.tasks.Rotation, or train plainly with `psst fit`."
            )
        instantiate(ray_method(settings, "rays.npz", 0), Method)
        self.settings = settings
        self.max_steps = max_steps
        self.auxiliary_names = list(auxiliary_names)
        self.warm_steps = round(settings.warm_fraction * max_steps)
        if not 0 < self.warm_steps < max_steps - 1:
            raise ValueError(
                f"`{spelled}={max_steps}` is too short for a search: the warm start would take "
                f"{self.warm_steps} of its steps; set at least 10."
            )

    @property
    def warm(self) -> Unit:
        """The common start of all candidates."""
        weights = [self.settings.warm_weight] * len(self.auxiliary_names)
        return Unit("warm", "warm", fixed_weights(weights), 0, self.warm_steps)

    def _weightings(self) -> list[tuple[str, list[float]]]:
        """Named fixed weights: none, each auxiliary task alone, and (two or more tasks) all together."""
        n_tasks, positive = len(self.auxiliary_names), self.settings.auxiliary_weights[1:]
        named = [("0", [0.0] * n_tasks)]
        for position, task in enumerate(self.auxiliary_names):
            for weight in positive:
                alone = [weight if place == position else 0.0 for place in range(n_tasks)]
                named.append((f"{weight:g}" if n_tasks == 1 else f"{task}-{weight:g}", alone))
        if n_tasks > 1:
            named += [(f"all-{weight:g}", [weight] * n_tasks) for weight in positive]
        return named

    @property
    def anchors(self) -> list[Unit]:
        """Fixed weights from the warm start: candidates and rulers in one."""
        return [
            Unit(f"anchor-{name}", "anchor", fixed_weights(weights), self.warm_steps, self.max_steps)
            for name, weights in self._weightings()
        ]

    @property
    def anchor_pairs(self) -> list[tuple[int, int]]:
        """Neighboring anchors: along each auxiliary task, and along all together."""
        per_axis = len(self.settings.auxiliary_weights) - 1
        chains = ([0, *range(first, first + per_axis)] for first in range(1, len(self.anchors), per_axis))
        return [pair for chain in chains for pair in pairwise(chain)]

    @property
    def baselines(self) -> list[Unit]:
        """`plain` and `fixed(w)` from scratch, T steps each; none when the settings say so."""
        if not self.settings.baselines:
            return []
        named = (("plain" if not any(w) else f"fixed-{name}", w) for name, w in self._weightings())
        return [Unit(name, "baseline", fixed_weights(w), 0, self.max_steps) for name, w in named]

    def twin(self, unit: Unit) -> str | None:
        """Name an anchor that is a baseline, step for step: one weighted like the warm start."""
        same = (anchor.name for anchor in self.anchors if anchor.method == self.warm.method == unit.method)
        return next(same, None)

    def subproblems(self, rays_file: str, n_rays: int) -> list[Unit]:
        """One unit a ray, from the warm start."""
        methods = [ray_method(self.settings, rays_file, index) for index in range(n_rays)]
        ends = (self.warm_steps, self.max_steps)
        return [Unit(f"subproblem-{i}", "subproblem", method, *ends) for i, method in enumerate(methods)]
