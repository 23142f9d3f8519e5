"""What PSSTCallback does with the losses of one training step, and what it remembers of a fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from psst.callbacks.certificates import numbers, tensors
from psst.callbacks.settings import Settings
from psst.callbacks.transfer import Vector, agree, to_host
from psst.pareto.coordinates import LossEMA
from psst.pareto.injection import inject, inject_nothing
from psst.pareto.methods import Decision, Method, StepState
from psst.pareto.not_finite import NotFiniteError
from psst.pareto.products import inner_products
from psst.pareto.scopes import Gathered, Parameters, Scope, Window
from psst.pareto.task_gradients import Loss
from psst.pareto.trajectory import Track

_STARVED, _STARVED_STEPS = 0.02, 200


class ParetoStep:
    """From the losses of a training step to the root that Lightning runs backward; one object a fit.

    Attributes:
        method: Decides; of this fit alone.
        names: The tasks, the main one first; empty before `start`.
        skipped: Steps without a usable Gramian: zero or not finite.
        unreachable: Whether the method has given up steering towards its ray.
        track: ``[steps, 2 m]`` log of the averaged losses and weights of each optimizer step.
    """

    def __init__(self, method: Method, ema: float, settings: Settings, first_step: int = 0) -> None:
        self.method = method
        self.ema = LossEMA(ema)
        self.settings = settings
        self.denoiser = settings.denoiser()
        self.names: tuple[str, ...] = ()
        self.skipped = 0
        self.unreachable = False
        self.track = Track(first_step)
        self._weights: Vector = np.empty(0)
        self._reached: Mapping[str, Sequence[str]] = {}
        self._scope: Scope | None = None
        self._window: Window | None = None
        self._last_batch: tuple[int, int] | None = None
        self._step = -1
        self._of_step: list[Vector] = []
        self._n_agreed = 0
        self._n_reached = -1
        self._starved: Vector = np.empty(0)
        self._told: set[str] = set()
        self._epoch: dict[str, list[float]] = {}

    def start(self, names: tuple[str, ...]) -> None:
        """Begin with these tasks."""
        self.method.name_tasks(names)
        self.method.start(len(names))
        self.names = names
        self._weights = np.full(len(names), 1.0 / len(names))
        self._starved = np.zeros(len(names))

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
            ValueError: The graphs do not fit the scope, or a loss is not finite.
        """
        scope = self._scope or self._open(module, trainer)
        gathered: Gathered | None = self._gather(scope, _factor(trainer, module), losses, output)
        assert gathered is not None
        detached = gathered.values
        shown = output.get("loss", sum(detached.values(), torch.zeros((), device=module.device)))
        if self._window is not None:
            gathered = self._collect(trainer, self._window, gathered)
        replaced: dict[str, Any] = {"losses": detached}
        if isinstance(output.get("features"), Tensor):
            replaced["features"] = output["features"].detach()
        root = inject_nothing(shown) if gathered is None else self._root(trainer, module, gathered, shown)
        return {**output, **replaced, "loss": root}

    def close(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any] | None:
        """For a batch without losses: what the window has collected if this batch closes it, else None."""
        if self._window is None or not len(self._window) or not _closes_window(trainer):
            return None
        gathered = self._window.close()
        shown = torch.stack(list(gathered.values.values())).sum()
        return {"loss": self._root(trainer, module, gathered, shown)}

    @property
    def _one_pass(self) -> bool:
        """Whether the weights are known before any gradient is."""
        return not self.method.needs_gramian and self.denoiser is None and self._window is None

    def _gather(
        self, scope: Scope, factor: Tensor | None, losses: Mapping[str, Loss], output: Mapping[str, Any]
    ) -> Gathered:
        ready = {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}
        if not losses:
            return Gathered({}, [{} for _ in self.names], lambda weights: {})
        if self._one_pass and len(ready) == len(losses):
            return scope.weighted(ready, factor)
        gathered = scope.gather(losses, factor, output.get("features"))
        block = getattr(scope, "block_name", "")
        if block and block not in self._told:
            self._told.add(block)
            rank_zero_info(f"PSSTCallback: `scope='last_block'` takes the Gramian over `{block}`.")
        return gathered

    def _open(self, module: pl.LightningModule, trainer: pl.Trainer) -> Scope:
        def adopt(leaf: Tensor) -> str | None:
            for name, parameter in module.named_parameters():
                if parameter is leaf:
                    return name
            for optimizer in trainer.optimizers:
                if any(leaf is p for group in optimizer.param_groups for p in group["params"]):
                    return f"parameter {list(leaf.shape)} of {type(optimizer).__name__}"
            return None

        scope = self.settings.open_scope(self.names, dict(module.named_parameters()), adopt)
        self._scope, self._n_agreed = scope, len(scope.parameters)
        where = {name: position for position, name in enumerate(scope.names)}
        for known, names in zip(scope.reached, (self._reached.get(t, ()) for t in self.names), strict=True):
            known.update(where[name] for name in names if name in where)
        if self.denoiser is not None and self._reached and self._reached.get("*") != scope.names:
            self.denoiser = self.settings.denoiser()  # remembered of another module
        if self.settings.accumulate == "window":
            assert isinstance(scope, Parameters)
            self._window = Window(scope)
        return scope

    def _collect(self, trainer: pl.Trainer, window: Window, gathered: Gathered) -> Gathered | None:
        """The whole window with its last micro-batch, else None."""
        this = _micro_batch(trainer)
        if this == self._last_batch:
            raise RuntimeError(
                "`accumulate='window'` met the same batch twice: the optimizer runs `training_step` several "
                "times a step; use `accumulate='micro_batch'`."
            )
        self._last_batch = this
        window.add(gathered)
        return window.close() if _closes_window(trainer) else None

    def _root(
        self, trainer: pl.Trainer, module: pl.LightningModule, gathered: Gathered, shown: Tensor
    ) -> Tensor:
        assert self._scope is not None
        losses, gramian, denoised = self._measure(trainer, module, gathered)
        decision = self._decide(losses, gramian, denoised, trainer.global_step)
        self._warn(decision)
        values: dict[str, float | Vector] = {"loss": losses, "weight": self._weights}
        for key, value in values.items():
            self._add(key, np.asarray(value))
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if every and (trainer.global_step + 1) % every == 0:
            values["skipped"] = float(self.skipped)
            found = numbers(self.names, values, decision, denoised, self._weights)
            module.log_dict(tensors(found), on_step=True, on_epoch=False)
        mixed = gathered.mixture(self._weights.tolist())
        return inject(shown, self._scope.parameters, mixed) if mixed else inject_nothing(shown)

    def _measure(
        self, trainer: pl.Trainer, module: pl.LightningModule, gathered: Gathered
    ) -> tuple[Vector, Vector | None, Vector | None]:
        """Losses ``[m]``, NaN where absent, Gramian ``[m, m]`` and the denoised one, averaged over ranks."""
        scope, ranks, m = self._scope, trainer.world_size, len(self.names)
        assert scope is not None
        zero = next(iter(gathered.values.values()), torch.zeros((), device=module.device)).new_zeros(())
        there = [name in gathered.values for name in self.names]
        values = torch.stack([gathered.values.get(name, zero).reshape(()) for name in self.names])
        n_reached = sum(map(len, scope.reached))
        parts = [values, values.new_tensor([*there, float(n_reached > self._n_reached)])]
        gradients, memory = gathered.gradients, []
        if gradients and (self.method.needs_gramian or self.denoiser is not None):
            memory = [] if self.denoiser is None else self.denoiser.memory(scope.parameters)
            parts.append(self._products(gathered, memory))
        if gathered.check is not None:
            parts.append(gathered.check)
        sums, told, *rest = to_host(parts, ranks)
        if ranks > 1 and told[-1] > 0.0:
            agree(scope.reached, self._n_agreed, values.device)
            n_reached = sum(map(len, scope.reached))
            if rest:
                parts[2] = self._products(gathered, memory)
                sums, told, *rest = to_host(parts, ranks)
        if n_reached != self._n_reached:
            self._n_reached = n_reached
            self._note_reached(gathered)
        with np.errstate(invalid="ignore"):
            losses: Vector = sums / told[:-1]
        self._refuse(losses, (told[:-1] > 0.0).tolist(), trainer.global_step)
        if gathered.check is not None:
            scope.refuse(rest.pop().tolist(), list(gathered.values))
        if not rest:
            return losses, None, None
        gramian = np.ascontiguousarray(rest[0][:, :m])
        if self.denoiser is None:
            return losses, gramian, None
        if not np.isfinite(gramian).all():
            return losses, gramian, self.denoiser.value()
        over = scope.shared if gathered.over is None else gathered.over
        cross = rest[0][:, m:] if memory else None
        return losses, gramian, self.denoiser.update(cross, gradients, over)

    def _products(self, gathered: Gathered, memory: list[dict[int, Tensor]]) -> Tensor:
        assert self._scope is not None
        over = self._scope.shared if gathered.over is None else gathered.over
        return inner_products(gathered.gradients, [*gathered.gradients, *memory], over)

    def _note_reached(self, gathered: Gathered) -> None:
        scope = self._scope
        assert scope is not None
        found = zip(self.names, scope.reached, strict=True)
        self._reached = {name: [scope.names[p] for p in sorted(each)] for name, each in found}
        self._reached["*"] = list(scope.names)
        if not scope.shared and len(gathered.values) > 1:
            self._tell(
                "apart",
                f"The losses {list(self.names)} share no trainable parameter so far: PSSTCallback has "
                "nothing to weight. Compute them from one backbone, and detach nothing on the way.",
            )

    def _refuse(self, losses: Vector, there: Sequence[bool], step: int) -> None:
        for name, value, present in zip(self.names, losses, there, strict=True):
            if present and not np.isfinite(value):
                raise NotFiniteError(
                    f"`losses['{name}']` is {value} at step {step}; training stops before the update. "
                    "Look at that task's inputs of this batch, lower the learning rate or clip gradients."
                )

    def _decide(self, losses: Vector, gramian: Vector | None, denoised: Vector | None, step: int) -> Decision:
        """The method's weights, with those of absent tasks shared out among the others."""
        log_losses = self.ema.update(losses, step)
        decision = self.method.decide(StepState(gramian, losses, log_losses, step, denoised))
        self.unreachable = bool(decision.certificates.get("unreachable", self.unreachable))
        finite = bool(np.isfinite(decision.weights).all())
        shares = np.abs(decision.weights if decision.shares is None else decision.shares)
        if finite:
            present = float(shares[~np.isnan(losses)].sum() / max(float(shares.sum()), 1e-300))
            self._weights = decision.weights / present if 0.0 < present < 1.0 else decision.weights
        skipped = decision.status == "skipped" or not finite
        self.skipped += skipped
        if step != self._step:
            self._of_step = []
            low = shares < _STARVED * float(shares.sum())
            self._starved = np.where(low & self.method.may_starve & finite, self._starved + 1, 0)
        self._step = step
        if not skipped:
            self._of_step.append(decision.weights)
        weights = np.mean(self._of_step, axis=0) if self._of_step else np.full(len(losses), np.nan)
        self.track.put(step, np.concatenate([log_losses, weights]))
        return decision

    def _warn(self, decision: Decision) -> None:
        """Say once what a user would want to know."""
        if self.unreachable:
            self._tell(
                "ray",
                "The losses came no nearer to their ray for a whole patience: PSSTCallback gives up steering "
                "and keeps the weights expected there. Take a ray between losses that runs have reached.",
            )
        if decision.certificates.get("held"):
            self._tell(
                "held",
                "A mean loss is not positive and has no logarithm: PSSTCallback holds the last weights. Add "
                "a constant to that loss, or use a method without ratios such as `FixedWeights`.",
            )
        for name, starved in zip(self.names, self._starved, strict=True):
            if starved >= _STARVED_STEPS:
                self._tell(
                    f"starved {name}",
                    f"`losses['{name}']` had a weight below {_STARVED} for {_STARVED_STEPS} steps: that task "
                    "is hardly trained. Bring the losses to like sizes, or use `tradeoff` or fixed weights.",
                )
        levels = np.asarray(decision.certificates.get("unreachable_level", np.zeros(len(self.names))))
        for name, missed in zip(self.names, levels, strict=True):
            if missed:
                self._tell(
                    f"level {name}",
                    f"`levels['{name}']` was not reached for a whole patience, and its loss comes no nearer: "
                    "raise the level, or train longer.",
                )

    def _tell(self, key: str, message: str) -> None:
        if key not in self._told:
            self._told.add(key)
            rank_zero_warn(message)

    def _add(self, key: str, value: Vector) -> None:
        for name, number in zip(self.names, value, strict=True):
            if not np.isnan(number):
                total = self._epoch.setdefault(f"psst/{key}/{name}_epoch", [0.0, 0.0])
                total[0], total[1] = total[0] + float(number), total[1] + 1.0

    def epoch_means(self) -> dict[str, Tensor]:
        """Means of losses and weights over the epoch's batches, by the key they are logged under."""
        found, self._epoch = tensors({key: total / n for key, (total, n) in self._epoch.items()}), {}
        return found

    def state_dict(self) -> dict[str, Any]:
        """Plain values, and the denoiser's remembered gradients as tensors on the CPU."""
        return {
            "task_names": list(self.names) or None,
            "ema": self.ema.state_dict(),
            "skipped": self.skipped,
            "reached": dict(self._reached),
            "denoiser": None if self.denoiser is None else self.denoiser.state_dict(),
            "method": {"description": self.method.described(), "state": self.method.state_dict()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what belongs to the tasks; counter and method state only from the same method."""
        self.ema.load_state_dict(state["ema"])
        self._reached = state["reached"]
        if self.denoiser is not None and state["denoiser"] is not None:
            self.denoiser.load_state_dict(state["denoiser"])
        if state["method"]["description"] == self.method.described():
            self.skipped = int(state["skipped"])
            self.method.load_state_dict(state["method"]["state"])
        if state["task_names"]:
            self.start(tuple(state["task_names"]))


def _factor(trainer: pl.Trainer, module: pl.LightningModule) -> Tensor | None:
    """What a gradient scaler multiplies with. Losses are scaled before, else small gradients vanish."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return None
    device = next((p.device for p in module.parameters() if isinstance(p, nn.Parameter)), module.device)
    return scaler.scale(torch.ones((), device=device))


def _micro_batch(trainer: pl.Trainer) -> tuple[int, int]:
    """Epoch and number of the batch in training, the first being 1."""
    return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


def _closes_window(trainer: pl.Trainer) -> bool:
    """Whether the optimizer steps after this batch: its window is full, or the epoch ends with it.

    As Lightning decides it, with the accumulation in force now, which a scheduler may change between epochs.
    """
    _, number = _micro_batch(trainer)
    full = number % trainer.accumulate_grad_batches == 0
    return full or bool(trainer.is_last_batch) or number >= trainer.num_training_batches
