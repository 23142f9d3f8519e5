"""What a user may set of the tangent."""

from dataclasses import dataclass

__all__ = ["TangentSettings"]


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
