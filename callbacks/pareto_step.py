"""What PSSTCallback does with the losses of one training step, and what it remembers of a fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn

from psst.callbacks.wrapping import read_losses
from psst.pareto.coordinates import LossEMA
from psst.pareto.injection import TaskGradient, combine, gramian, inject, shared_positions, task_gradients
from psst.pareto.methods import Decision, Method, StepState

Vector = npt.NDArray[np.float64]


class ParetoStep:
    """From the losses of a training step to the root that Lightning runs backward; one object a fit.

    Attributes:
        names: The tasks, ``main`` first; ``None`` before `start`.
        weights: ``[m]`` of the last decision, equal before the first.
        weight_sum: ``[m]`` sum of all decided weights.
        n_decisions: How many.
        skipped: Steps without a usable Gramian: zero or not finite.
        unreachable: Whether the method has given up steering towards its ray.
        first_step: Optimizer steps done when the first losses came.
        log_losses: ``[m]`` log of the averaged losses, ``None`` before the first step.
    """

    def __init__(self, method: Method, ema: LossEMA) -> None:
        self.method = method
        self.ema = ema
        self.names: tuple[str, ...] | None = None
        self.weights: Vector = np.empty(0)
        self.weight_sum: Vector = np.empty(0)
        self.n_decisions = 0
        self.skipped = 0
        self.unreachable = False
        self.first_step = 0
        self.log_losses: Vector | None = None
        self._parameters: list[nn.Parameter] = []
        self._reached: list[set[int]] = []

    def start(self, names: tuple[str, ...], method_state: Mapping[str, Any] | None = None) -> None:
        """Begin with these tasks, the method from its state of an earlier run if there is one."""
        self.method.start(len(names))
        if method_state is not None:
            self.method.load_state_dict(method_state)
        self.names = names
        self._reached = [set() for _ in names]
        self.weights = np.full(len(names), 1.0 / len(names))
        self.weight_sum = np.zeros(len(names))

    def __call__(
        self, trainer: pl.Trainer, module: pl.LightningModule, output: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What ``training_step`` gave, its ``loss`` replaced by the root and its ``losses`` detached.

        Raises:
            ValueError: A loss is not finite, or negative where its logarithm is needed.
        """
        losses = read_losses(output, module)
        if not self._parameters:
            self._parameters = list(module.parameters())
            self.first_step = trainer.global_step
        gradients = self._take_gradients(trainer, list(losses.values()))
        values, matrix = self._to_host(trainer, list(losses.values()), gradients)
        decision = self._decide(values, matrix, trainer.global_step)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if every and (trainer.global_step + 1) % every == 0:
            self._log(module, values, decision)
        mixture = combine(gradients, self._reached, self.weights.tolist())
        detached = {name: loss.detach() for name, loss in losses.items()}
        shown = output.get("loss", sum(detached.values()))
        return {**output, "losses": detached, "loss": inject(shown, self._parameters, mixture)}

    def _take_gradients(self, trainer: pl.Trainer, losses: list[Tensor]) -> list[TaskGradient]:
        """Gradients in true scale. Under 16-mixed the losses are scaled first, else small ones vanish."""
        scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
        with torch.autocast(losses[0].device.type, enabled=False):
            if scaler is None:
                gradients = task_gradients(losses, self._parameters)
            else:
                scale = scaler.scale(torch.ones((), device=losses[0].device))
                gradients = task_gradients([loss.float() * scale for loss in losses], self._parameters)
                for gradient in filter(None, gradients):
                    values = torch._foreach_div(list(gradient.values()), scale)
                    gradient.update(zip(gradient, values, strict=True))
        for reached, gradient in zip(self._reached, gradients, strict=True):
            reached.update(gradient)
        return gradients

    def _to_host(
        self, trainer: pl.Trainer, losses: list[Tensor], gradients: list[TaskGradient]
    ) -> tuple[Vector, Vector]:
        """Losses ``[m]`` and Gramian ``[m, m]``, averaged over the ranks, in one transfer."""
        m = len(losses)
        shared = shared_positions(self._reached)
        if not shared and self.n_decisions + self.skipped == 0:
            rank_zero_warn(
                f"The losses {list(self.names or ())} share no trainable parameter so far: PSSTCallback has "
                "nothing to weight. Compute them from one backbone, and detach nothing on the way."
            )
        stacked = torch.stack([loss.detach().reshape(()) for loss in losses])
        packed = torch.cat([stacked, gramian(gradients, shared).to(stacked.device).flatten()])
        if trainer.world_size > 1:
            torch.distributed.all_reduce(packed)  # a sum: gloo has no mean
            packed /= trainer.world_size
        host: Vector = packed.to("cpu", torch.float64).numpy()
        return host[:m], host[m:].reshape(m, m)

    def _decide(self, losses: Vector, matrix: Vector, step: int) -> Decision:
        for name, value in zip(self.names or (), losses, strict=True):
            if not np.isfinite(value):
                raise ValueError(
                    f"`losses['{name}']` is {value} at step {step}; training stops before the update. "
                    "Look at that task's inputs of this batch, lower the learning rate or clip gradients."
                )
        self.log_losses = self._average(losses, step)
        decision = self.method.decide(StepState(matrix, losses, self.log_losses, step))
        self.unreachable = bool(decision.certificates.get("unreachable", self.unreachable))
        finite = bool(np.isfinite(decision.weights).all())
        if finite:
            self.weights = decision.weights
        if decision.status == "skipped" or not finite:
            self.skipped += 1
        else:
            self.weight_sum += decision.weights
            self.n_decisions += 1
        return decision

    def _average(self, losses: Vector, step: int) -> Vector:
        """``[m]`` log of the averaged losses. A loss of exactly 0 counts as the smallest positive float."""
        negative = [name for name, value in zip(self.names or (), losses, strict=True) if value < 0.0]
        if negative:
            value = losses[(self.names or ()).index(negative[0])]
            raise ValueError(
                f"`losses['{negative[0]}']` is {value} at step {step}, but rays are ratios of losses and "
                "need positive ones; add a constant to that loss."
            )
        averaged: Vector = self.ema.update(np.maximum(losses, np.finfo(np.float32).tiny))
        return averaged

    def _log(self, module: pl.LightningModule, losses: Vector, decision: Decision) -> None:
        """Plain floats that are on the host already: no synchronization."""
        values: dict[str, float | Vector] = {"loss": losses, "weight": self.weights}
        values |= {"kkt_gap": decision.kkt_gap, "skipped": self.skipped, **decision.certificates}
        flat: dict[str, float] = {}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                pairs = zip(self.names or (), value, strict=True)
                flat |= {f"psst/{key}/{name}": float(number) for name, number in pairs}
            else:
                flat[f"psst/{key}"] = float(value)
        module.log_dict(flat, on_step=True, on_epoch=False)
