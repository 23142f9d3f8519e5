"""What a user may set under the `search:` group of a config."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from psst.search.tangents.settings import TangentSettings

__all__ = ["SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; T is the length of one full training, `trainer.max_steps`.

    The schedule is our own choice: the paper's was not at hand.

    Args:
        auxiliary_weights: Fixed weights of the anchors on the auxiliary losses (main has 1); starts with 0.
        warm_fraction: Share of T spent in the warm start, in (0, 1).
        warm_weight: Auxiliary weight during the warm start.
        method: Class path of the method that keeps a subproblem in its sector: `psst.pareto.Preference`,
            `MinNorm`, `Project`, `Priority`, `Ray`, or any `Method` of one's own with `rays` and `index`.
        min_main_share: Least weight of the main task in a subproblem, in [0, 1].
        baselines: Train `plain` and `fixed(w)` from scratch for T steps each beside the search.
        mixes: Positions between two neighboring solutions at which weights are interpolated, each in (0, 1).
        max_explored: Most points that the exploration may try.
        recalibration_batches: Training episodes that renew the BatchNorm statistics of an averaged model.
        check_batches: Fresh episodes on which an averaged model is held against its chord.
        threads: CPU threads of each unit; part of the configuration, so that the result does not depend on
            the machine.
        checkpoint_every: Optimizer steps after which a unit saves its whole state; one that is killed goes on
            from there, and ends as if it had not been.
        selection: `best` lets all validation classes choose; `confirm` half of them, and the other half says
            what the choice is worth. With fewer than twice `evaluation.way` classes a half, all choose.
        max_tangents: Most points that are predicted along the front's tangent; 0 for none.
        rivals: Train beside each tangent a warm start on its ray, for as many steps as a tangent may cost.
        tangent: Settings of the tangents.

    Raises:
        ValueError: A value lies outside its range.
    """

    auxiliary_weights: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0)
    warm_fraction: float = 0.6
    warm_weight: float = 0.3
    method: str = "psst.pareto.Preference"
    min_main_share: float = 0.0
    baselines: bool = True
    mixes: tuple[float, ...] = (0.25, 0.5, 0.75)
    max_explored: int = 10
    recalibration_batches: int = 15
    check_batches: int = 30
    threads: int = 1
    checkpoint_every: int = 200
    selection: Literal["best", "confirm"] = "best"
    max_tangents: int = 0
    rivals: bool = False
    tangent: TangentSettings = field(default_factory=TangentSettings)

    def __post_init__(self) -> None:
        weights = tuple(self.auxiliary_weights)
        if len(weights) < 2 or weights[0] != 0 or any(a >= b for a, b in pairwise(weights)):
            raise ValueError(
                f"`search.auxiliary_weights={list(weights)}` must start with 0 and rise, with at "
                "least two values; for example [0, 0.1, 0.3, 1, 3]."
            )
        if not 0 < self.warm_fraction < 1:
            raise ValueError(
                f"`search.warm_fraction={self.warm_fraction}` must lie in (0, 1): it is the share of "
                "`trainer.max_steps` spent in the warm start; 0.6 is the default."
            )
        if not 0 <= self.min_main_share <= 1:
            raise ValueError(
                f"`search.min_main_share={self.min_main_share}` must lie in [0, 1]; 0 sets no bound."
            )
        if any(not 0 < t < 1 for t in self.mixes):
            raise ValueError(
                f"`search.mixes={list(self.mixes)}` must all lie in (0, 1), for example [0.25, 0.5, 0.75]."
            )
        counts = ("recalibration_batches", "check_batches", "threads", "checkpoint_every")
        for name in ("max_explored", "max_tangents", *counts):
            if getattr(self, name) < (1 if name in counts else 0):
                raise ValueError(
                    f"`search.{name}={getattr(self, name)}` is too small; leave it out for the default."
                )
        if self.selection not in ("best", "confirm"):
            raise ValueError(f"`search.selection={self.selection}` must be `best` or `confirm`.")
        if self.rivals and not self.max_tangents:
            raise ValueError(
                "`search.rivals=true` trains one rival a tangent, but `search.max_tangents=0` allows none; "
                "set it to 1 or more."
            )
