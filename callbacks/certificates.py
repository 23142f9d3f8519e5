"""What a step logs, as plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from psst.callbacks.transfer import Vector
from psst.pareto.denoise import cosines, criticality
from psst.pareto.methods import Decision

PHASES = ("warmup", "inside", "outside", "given up")
"""Of a method that keeps to a ray, by the number that is logged; others stay in the first."""


@dataclass(frozen=True, eq=False)
class Report:
    """One step, all on the host.

    Attributes:
        tasks: Names, ``main`` first.
        losses: ``[m]`` raw.
        weights: ``[m]`` used.
        decision: With the method's certificates.
        denoised: ``[m, m]``, where there is one.
        skipped: Steps so far without a usable Gramian.
    """

    tasks: Sequence[str]
    losses: Vector
    weights: Vector
    decision: Decision
    denoised: Vector | None
    skipped: int

    @property
    def phase(self) -> int:
        """Index into `PHASES`."""
        certificates = self.decision.certificates
        if certificates.get("unreachable"):
            return PHASES.index("given up")
        if "in_sector" not in certificates:
            return PHASES.index("warmup")
        return PHASES.index("inside" if certificates["in_sector"] else "outside")

    def numbers(self) -> dict[str, float]:
        """By the key they are logged under; what is not defined in this step (NaN) is left out."""
        found: dict[str, float | Vector] = {"loss": self.losses, "weight": self.weights}
        found |= {"kkt_gap": self.decision.kkt_gap, "skipped": self.skipped, "phase": self.phase}
        flat: dict[str, float] = {}
        for key, value in (found | self.decision.certificates).items():
            if isinstance(value, np.ndarray) and value.ndim:
                pairs = zip(self.tasks, value, strict=True)
                flat |= {f"psst/{key}/{task}": float(number) for task, number in pairs}
            else:
                flat[f"psst/{key}"] = float(value)
        if self.denoised is not None:
            angles = cosines(self.denoised)
            for j, second in enumerate(self.tasks):
                flat |= {f"psst/cosine/{self.tasks[i]}-{second}": float(angles[i, j]) for i in range(j)}
            flat["psst/criticality"] = criticality(self.denoised, self.weights)
        return {key: value for key, value in flat.items() if not np.isnan(value)}

    def tensors(self) -> dict[str, Tensor]:
        """The same for Lightning: scalars on the CPU, where they stay, so that nothing waits for a device."""
        numbers = self.numbers()
        values = torch.tensor(list(numbers.values()), dtype=torch.float32).unbind()
        return dict(zip(numbers, values, strict=True))
