"""What a user may set under the `search:` group of a config; nothing heavy is imported."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True)
class TangentSettings:
    """Settings of the tangent; all batches are those of training.

    Args:
        place: How far to go towards the neighbor, in (0, 1], in log-ratios of losses.
        batches: For the task gradients, in two halves drawn independently, each of which checks the other.
        curvature_batches: Of these, for the Hessian; each of its products costs about five steps a batch.
        check_batches: Fresh ones on which a step is confirmed, once predicted and once corrected.
        recalibration_batches: For BatchNorm's statistics.
        iterations: Of MINRES, for each of the m - 1 systems.
        damping: Relative to the Hessian's size along the right-hand side.
        tolerance: Of MINRES, relative.
        correct_steps: Optimizer steps of the corrector.
        keep_graphs: Keep the graphs of the curvature batches: quicker, and all of them in memory.

    Raises:
        ValueError: A value lies outside its range.
    """

    place: float = 0.5
    batches: int = 32
    curvature_batches: int = 2
    check_batches: int = 30
    recalibration_batches: int = 15
    iterations: int = 12
    damping: float = 0.1
    tolerance: float = 1e-2
    correct_steps: int = 100
    keep_graphs: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.place <= 1:
            raise ValueError(f"`search.tangent.place={self.place}` must lie in (0, 1]; 0.5 is half way.")
        least = {"batches": 2, "curvature_batches": 1, "check_batches": 2, "recalibration_batches": 1}
        for name, bound in {**least, "iterations": 1, "correct_steps": 0}.items():
            if getattr(self, name) < bound:
                raise ValueError(f"`search.tangent.{name}={getattr(self, name)}` must be at least {bound}.")
        if self.curvature_batches > self.batches:
            raise ValueError(
                f"`search.tangent.curvature_batches={self.curvature_batches}` are taken from "
                f"`search.tangent.batches={self.batches}` and cannot be more."
            )
        if self.damping < 0 or self.tolerance < 0:
            raise ValueError("`search.tangent.damping` and `search.tangent.tolerance` must not be negative.")


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; T is the length of one full training, `trainer.max_steps`.

    The schedule is our own choice: the paper's was not at hand.

    Args:
        auxiliary_weights: Fixed weights of the anchors on the auxiliary losses (main has 1); starts with 0.
        warm_fraction: Share of T spent in the warm start, in (0, 1).
        warm_weight: Auxiliary weight during the warm start.
        method: Class path of the method that keeps a subproblem in its sector: `psst.pareto.Preference`,
            `MinNorm`, `Ray`, or any `Method` of one's own with `rays` and `index`.
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
