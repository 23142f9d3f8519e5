"""What a step logs, as plain numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from psst.callbacks.transfer import Vector
from psst.pareto.methods import Decision

_PHASES = ("no ray", "inside", "outside", "given up")


def numbers(
    tasks: Sequence[str], values: Mapping[str, float | Vector], decision: Decision
) -> dict[str, float]:
    """One step by the keys it is logged under; what is not defined in this step (NaN) is left out.

    Args:
        tasks: Names, the main one first.
        values: Scalars, and ``[m]`` arrays that are logged task by task.
        decision: With the method's certificates.
    """
    flat: dict[str, float] = {}
    of_ray = {"kkt_gap": decision.kkt_gap, "phase": float(_phase(decision))}
    for key, value in {**values, **of_ray, **decision.certificates}.items():
        if isinstance(value, np.ndarray) and value.ndim:
            pairs = zip(tasks, value, strict=True)
            flat |= {f"psst/{key}/{task}": float(number) for task, number in pairs}
        else:
            flat[f"psst/{key}"] = float(value)
    return {key: value for key, value in flat.items() if not np.isnan(value)}


def tensors(found: Mapping[str, float]) -> dict[str, Tensor]:
    """The same for Lightning: scalars on the CPU, where they stay, so that nothing waits for a device."""
    values = torch.tensor(list(found.values()), dtype=torch.float32).unbind()
    return dict(zip(found, values, strict=True))


def _phase(decision: Decision) -> int:
    certificates = decision.certificates
    if certificates.get("unreachable"):
        return _PHASES.index("given up")
    if "in_sector" not in certificates:
        return _PHASES.index("no ray")
    return _PHASES.index("inside" if certificates["in_sector"] else "outside")
