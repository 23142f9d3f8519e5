"""A Gramian whose signs mean something: from products of gradients of different batches only."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psst.pareto.injection import TaskGradient
from psst.pareto.least_squares import Array

_DECAY = 0.99
"""Share of the averages kept per step: about 200 batches' worth of noise is averaged out."""


class DenoisedGramian:
    r"""Averages of products of a remembered gradient with the present one, whose noises are independent.

    With gradients :math:`g_i^t` of task i at step t, the memory :math:`h_i^{t-1}` and the cross products
    :math:`C^t_{ij} = \langle g_i^t, h_j^{t-1} \rangle`:

    it remembers the running mean :math:`h^t = d\,h^{t-1} + (1-d)\,g^t`. The Gramian of the means is
    :math:`H^t = d^2 H^{t-1} + d(1-d)(C^t + C^{t\top}) + (1-d)^2 G^t`, in which only the last term holds
    squares of one batch's noise; it is left out, and what remains is divided by its sum of weights. That is
    the mean over all pairs of different batches: no noise is left on the diagonal, nor off it where tasks
    share a batch.

    It is unbiased while the true gradients stand still, holds m copies of the shared gradients in float32
    or wider, and lags behind them by about ``1 / (1 - decay)`` steps. With several ranks, each remembers the
    gradients of its own batches; a checkpoint keeps those of the rank that writes it.

    Args:
        decay: d, in [0, 1). The result counts as denoised after ``1 / (1 - decay)`` steps.
    """

    def __init__(self, decay: float = _DECAY) -> None:
        self.decay = decay
        self.steps = 0
        self._sum: Array | None = None
        self._weight = 0.0
        self._memory: list[TaskGradient] = []
        self._on_host = False

    def memory(self, parameters: Sequence[Tensor]) -> list[TaskGradient]:
        """What to multiply this step's gradients with, one a task; empty before the first step.

        Args:
            parameters: Those the positions refer to; a memory from a checkpoint goes to their devices.
        """
        if self._on_host:
            for task in self._memory:
                task.update({p: value.to(parameters[p].device) for p, value in task.items()})
            self._on_host = False
        return self._memory

    def update(
        self, cross: Array | None, gradients: Sequence[TaskGradient], shared: Collection[int]
    ) -> Array | None:
        """Take in one step.

        Args:
            cross: ``[m, m]`` products of this step's gradients (rows) with `memory`; None if it was empty.
                If they are not finite, the step is left out.
            gradients: Of this step, finite, one a task.
            shared: Positions to remember.

        Returns:
            ``[m, m]``, symmetric and positive semidefinite; None before enough steps.
        """
        if cross is not None and not np.isfinite(cross).all():
            return self.value()
        if cross is not None:
            both = cross + cross.T
            keep, new = self.decay**2, self.decay * (1.0 - self.decay)
            self._weight = keep * self._weight + 2.0 * new * (1.0 - self.decay**self.steps)
            self._sum = new * both if self._sum is None else keep * self._sum + new * both
        self._remember(gradients, shared)
        self.steps += 1
        return self.value()

    def value(self) -> Array | None:
        """The denoised Gramian after the last step; None before enough steps.

        Noise may leave an average of products indefinite; the nearest semidefinite matrix is returned, for
        which some weights always satisfy ``G a >= 0``.
        """
        if self._sum is None or self.steps * (1.0 - self.decay) < 1.0 - 1e-9:
            return None
        mean: Array = self._sum / self._weight
        values, vectors = np.linalg.eigh(mean)
        if values[0] < 0.0:
            mean = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return mean

    def _remember(self, gradients: Sequence[TaskGradient], shared: Collection[int]) -> None:
        if not self._memory:
            self._memory = [{} for _ in gradients]
        for task, gradient in zip(self._memory, gradients, strict=True):
            known = [p for p in task if p in gradient]
            absent = [value for p, value in task.items() if p not in gradient]
            new = [p for p in gradient if p in shared and p not in task]
            if known:
                held = [task[p] for p in known]
                torch._foreach_lerp_(held, [gradient[p].to(task[p].dtype) for p in known], 1.0 - self.decay)
            if absent:
                torch._foreach_mul_(absent, self.decay)
            for p in new:
                wide = torch.promote_types(gradient[p].dtype, torch.float32)
                task[p] = gradient[p].detach().to(wide) * (1.0 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, and the m remembered gradients as tensors on the CPU, bit for bit."""
        memory = [{p: value.to("cpu", copy=True) for p, value in task.items()} for task in self._memory]
        numbers = None if self._sum is None else self._sum.tolist()
        return {
            "steps": self.steps,
            "sum": numbers,
            "weight": self._weight,
            "memory": memory,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another run's state."""
        self.steps, self._weight = int(state["steps"]), float(state["weight"])
        self._sum = None if state["sum"] is None else np.asarray(state["sum"], dtype=np.float64)
        self._memory = [dict(task) for task in state["memory"]]
        self._on_host = True


def cosines(gramian: Array) -> Array:
    """``[m, m]`` cosines of the angles between gradients; NaN beside a gradient of length 0."""
    norms = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Array = gramian / np.outer(norms, norms)
    return ratio


def criticality(gramian: Array, weights: Array) -> float:
    """``||sum_i a_i g_i|| / min_i ||g_i||``: 0 at a Pareto critical point; NaN if a gradient has length 0."""
    shortest = float(gramian.diagonal().min())
    if shortest <= 0.0:
        return float("nan")
    return float(np.sqrt(max(float(weights @ gramian @ weights), 0.0) / shortest))
