"""What PSSTCallback does with the losses of one training step, and what it remembers of a fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn

from psst.callbacks.accumulation import closes_window, micro_batch
from psst.callbacks.certificates import Report
from psst.callbacks.settings import Settings
from psst.callbacks.transfer import Vector, to_host
from psst.pareto.coordinates import LossEMA
from psst.pareto.denoise import DenoisedGramian
from psst.pareto.injection import inject, inject_nothing
from psst.pareto.methods import Decision, Method, StepState
from psst.pareto.products import inner_products
from psst.pareto.scopes import Gathered, Parameters, Scope, Window
from psst.pareto.task_gradients import Loss


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
        denoiser: Of the Gramian, where there is one.
        reached: Positions of the parameters each task has reached so far.
        parameters: Names of the module's parameters, by which `reached` and the denoiser count; ``None``
            before the first step of a first run.
    """

    def __init__(self, method: Method, ema: LossEMA, settings: Settings) -> None:
        self.method = method
        self.ema = ema
        self.settings = settings
        self.denoiser: DenoisedGramian | None = settings.denoiser()
        self.names: tuple[str, ...] | None = None
        self.weights: Vector = np.empty(0)
        self.weight_sum: Vector = np.empty(0)
        self.n_decisions = 0
        self.skipped = 0
        self.unreachable = False
        self.first_step = 0
        self.log_losses: Vector | None = None
        self.reached: list[set[int]] = []
        self.parameters: list[str] | None = None
        self._scope: Scope | None = None
        self._window: Window | None = None
        self._last_micro_batch: tuple[int, int] | None = None
        self._fit: Mapping[str, Any] | None = None

    def start(self, names: tuple[str, ...], method_state: Mapping[str, Any] | None = None) -> None:
        """Begin with these tasks, the method from its state of an earlier run if there is one."""
        self.method.start(len(names))
        if method_state is not None:
            self.method.load_state_dict(method_state)
        self.names = names
        self.weights = np.full(len(names), 1.0 / len(names))
        self.weight_sum = np.zeros(len(names))
        if self._fit is not None:
            self.weights = np.array(self._fit["weights"])
            self.weight_sum = np.array(self._fit["weight_sum"])
            self.n_decisions = int(self._fit["n_decisions"])
            self.unreachable = bool(self._fit["unreachable"])

    def fit_state(self) -> dict[str, Any]:
        """What is remembered of this fit alone, as plain values."""
        return {
            "weights": self.weights.tolist(),
            "weight_sum": self.weight_sum.tolist(),
            "n_decisions": self.n_decisions,
            "unreachable": self.unreachable,
            "first_step": self.first_step,
        }

    def continue_fit(self, state: Mapping[str, Any]) -> None:
        """Take what `fit_state` gave as the beginning of this fit; before `start`."""
        self._fit = state

    def __call__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        losses: Mapping[str, Loss],
        output: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What ``training_step`` gave, its ``loss`` replaced by the root and its ``losses`` detached.

        Raises:
            TypeError: Of losses or features, something is missing or of a kind the scope cannot use.
            ValueError: The graphs do not fit the scope, or a loss is not finite, or negative where its
                logarithm is needed.
        """
        scope = self._scope or self._open(trainer, module)
        factor = _scaler_factor(trainer, module)
        gathered: Gathered | None = scope.gather(losses, factor, output.get("features"))
        assert gathered is not None
        detached = dict(zip(losses, gathered.values, strict=True))
        shown = output.get("loss", sum(detached.values()))
        if self._window is not None:
            gathered = self._collect(trainer, self._window, gathered)
        replaced: dict[str, Any] = {"losses": detached}
        if self.settings.scope == "features":
            replaced["features"] = output["features"].detach()
        if gathered is None:
            return {**output, **replaced, "loss": inject_nothing(shown)}
        return {**output, **replaced, "loss": self._root(trainer, module, gathered, shown)}

    def close(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any] | None:
        """For a batch without losses: what the window has collected if this batch closes it, else None."""
        if self._window is None or not len(self._window) or not closes_window(trainer):
            return None
        gathered = self._window.close()
        shown = torch.stack(gathered.values).sum()
        return {"loss": self._root(trainer, module, gathered, shown)}

    def _open(self, trainer: pl.Trainer, module: pl.LightningModule) -> Scope:
        self._scope = self.settings.open_scope(dict(module.named_parameters()))
        if self.parameters not in (None, self._scope.names):  # an earlier run had another module
            self.reached, self.denoiser = [], self.settings.denoiser()
        self.parameters = self._scope.names
        self._scope.reached = self.reached or [set() for _ in self.names or ()]
        self.reached = self._scope.reached
        if self.settings.accumulate == "window":
            assert isinstance(self._scope, Parameters)
            self._window = Window(self._scope)
        self.first_step = trainer.global_step if self._fit is None else int(self._fit["first_step"])
        return self._scope

    def _collect(self, trainer: pl.Trainer, window: Window, gathered: Gathered) -> Gathered | None:
        """The whole window with its last micro-batch, else None."""
        this = micro_batch(trainer)
        if this == self._last_micro_batch:
            raise RuntimeError(
                "`accumulate='window'` met the same batch twice: the optimizer runs `training_step` several "
                "times a step; use `accumulate='micro_batch'`."
            )
        self._last_micro_batch = this
        window.add(gathered)
        return window.close() if closes_window(trainer) else None

    def _root(
        self, trainer: pl.Trainer, module: pl.LightningModule, gathered: Gathered, shown: Tensor
    ) -> Tensor:
        losses, gramian, denoised = self._measure(trainer, gathered)
        decision = self._decide(losses, gramian, denoised, trainer.global_step)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if every and (trainer.global_step + 1) % every == 0:
            report = Report(self.names or (), losses, self.weights, decision, denoised, self.skipped)
            module.log_dict(report.tensors(), on_step=True, on_epoch=False)
        assert self._scope is not None
        return inject(shown, self._scope.parameters, gathered.mixture(self.weights.tolist()))

    def _measure(self, trainer: pl.Trainer, gathered: Gathered) -> tuple[Vector, Vector, Vector | None]:
        """Losses ``[m]``, Gramian ``[m, m]`` and the denoised one, averaged over the ranks."""
        assert self._scope is not None
        if not gathered.shared and self.n_decisions + self.skipped == 0:
            rank_zero_warn(
                f"The losses {list(self.names or ())} share no trainable parameter so far: PSSTCallback has "
                "nothing to weight. Compute them from one backbone, and detach nothing on the way."
            )
        m, gradients = len(gathered.gradients), gathered.gradients
        memory = [] if self.denoiser is None else self.denoiser.memory(self._scope.parameters)
        products = inner_products(gradients, [*gradients, *memory], gathered.shared)
        values = torch.stack([value.reshape(()) for value in gathered.values])
        parts = [values, products] if gathered.check is None else [values, products, gathered.check]
        losses, both, *check = to_host(parts, trainer.world_size)
        for numbers in check:
            self._scope.refuse(numbers.tolist(), self.names or ())
        gramian = np.ascontiguousarray(both[:, :m])
        if self.denoiser is None:
            return losses, gramian, None
        if not np.isfinite(gramian).all():
            return losses, gramian, self.denoiser.value()
        return (
            losses,
            gramian,
            self.denoiser.update(both[:, m:] if memory else None, gradients, gathered.shared),
        )

    def _decide(self, losses: Vector, gramian: Vector, denoised: Vector | None, step: int) -> Decision:
        for name, value in zip(self.names or (), losses, strict=True):
            if not np.isfinite(value):
                raise ValueError(
                    f"`losses['{name}']` is {value} at step {step}; training stops before the update. "
                    "Look at that task's inputs of this batch, lower the learning rate or clip gradients."
                )
        self.log_losses = self._average(losses, step)
        decision = self.method.decide(StepState(gramian, losses, self.log_losses, step, denoised))
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
        if not self.method.needs_ratios:
            return self.ema.update(losses, any_sign=True)
        for name, value in zip(self.names or (), losses, strict=True):
            if value < 0.0:
                raise ValueError(
                    f"`losses['{name}']` is {value} at step {step}, but rays are ratios of losses and need "
                    "positive ones; add a constant to that loss, or use a method without rays, such as "
                    "`FixedWeights`."
                )
        averaged: Vector = self.ema.update(np.maximum(losses, np.finfo(np.float32).tiny))
        return averaged


def _scaler_factor(trainer: pl.Trainer, module: pl.LightningModule) -> Tensor | None:
    """What a gradient scaler multiplies with. Losses are scaled before, else small gradients vanish."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return None
    device = next((p.device for p in module.parameters() if isinstance(p, nn.Parameter)), module.device)
    return scaler.scale(torch.ones((), device=device))
