"""What a step logs, as plain numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from psst.pareto import Decision
from psst.pareto.least_squares import Array


def numbers(tasks: Sequence[str], values: Mapping[str, float | Array]) -> dict[str, float]:
    """One step by the keys it is logged under, ``[m]`` arrays task by task; what is NaN is left out."""
    flat: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray) and value.ndim:
            pairs = zip(tasks, value, strict=True)
            flat |= {f"psst/{key}/{task}": float(number) for task, number in pairs}
        else:
            flat[f"psst/{key}"] = float(value)
    return {key: value for key, value in flat.items() if not np.isnan(value)}


def told_by(decision: Decision) -> dict[str, float | Array]:
    """The method's certificates, gap and phase: 0 no ray, 1 inside its sector, 2 outside, 3 given up."""
    inside, phase = decision.certificates.get("in_sector"), 0.0
    if inside is not None:
        phase = 1.0 if inside else 2.0
    if decision.certificates.get("unreachable"):
        phase = 3.0
    return {"kkt_gap": decision.kkt_gap, "phase": phase, **decision.certificates}


def tensors(found: Mapping[str, float]) -> dict[str, Tensor]:
    """The same for Lightning: scalars on the CPU, where they stay, so that nothing waits for a device."""
    values = torch.tensor(list(found.values()), dtype=torch.float32).unbind()
    return dict(zip(found, values, strict=True))
