"""What PSSTCallback does with the losses of one training step, and what it remembers of a fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor, nn

from psst.callbacks.certificates import numbers, tensors, told_by
from psst.callbacks.notices import Notices
from psst.pareto import Decision, Method, StepState
from psst.pareto.coordinates import LossEMA
from psst.pareto.injection import inject
from psst.pareto.least_squares import Array
from psst.pareto.not_finite import NotFiniteError
from psst.pareto.scopes import Gathered, Scope, Window
from psst.pareto.task_gradients import Loss
from psst.pareto.trajectory import Track


class ParetoStep:
    """From the losses of a training step to the root that Lightning runs backward; one object a fit."""

    def __init__(
        self,
        method: Method,
        ema: float,
        scope: str,
        shared: Sequence[str] | None,
        accumulate: str,
        first_step: int,
    ) -> None:
        self.method = method
        self.ema = LossEMA(ema)
        self.names: tuple[str, ...] = ()  # the main one first; empty before `start`
        self.skipped = 0  # steps without a usable Gramian: zero or not finite
        self.track = Track(first_step)  # ``[steps, 2 m]`` log of the averaged losses, and weights
        self._blockwise, self._shared, self._by_window = scope == "last_block", shared, accumulate == "window"
        self._weights: Array = np.empty(0)
        self._reached: Mapping[str, Sequence[str]] = {}
        self._n_agreed = 0
        self._n_reached = -1
        self._scope: Scope | None = None
        self._window: Window | None = None
        self._last_batch: tuple[int, int] | None = None
        self._step = -1
        self._of_step: list[Array] = []
        self._epoch: dict[str, tuple[float, int]] = {}

    def start(self, names: tuple[str, ...]) -> None:
        """Begin with these tasks."""
        self.method.name_tasks(names)
        self.method.start(len(names))
        self.names = names
        self._weights = np.full(len(names), 1.0 / len(names))
        self._notices = Notices(names)

    def __call__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        losses: Mapping[str, Loss],
        output: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What ``training_step`` gave, its ``loss`` replaced by the root and its ``losses`` detached."""
        scope = self._scope or self._open(module, trainer)
        told, one_pass = scope.block_name, not self.method.needs_gramian and not self._by_window
        found = scope.gather(losses, _factor(trainer, module), one_pass)
        if scope.block_name != told:
            rank_zero_info(f"PSSTCallback: `scope='last_block'` takes the Gramian over `{scope.block_name}`.")
        shown = output.get("loss", sum(found.values.values(), torch.zeros((), device=module.device)))
        whole = self._collect(trainer, scope, found) if self._by_window else found
        root = inject(shown, [], {}) if whole is None else self._root(trainer, module, scope, whole, shown)
        return {**output, "losses": found.values, "loss": root}

    def close(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any] | None:
        """For a batch without losses: what the window has collected if this batch closes it, else None."""
        scope, window = self._scope, self._window
        if scope is None or window is None or not _closes_window(trainer):
            return None
        self._window, shown = None, torch.zeros((), device=module.device)
        return {"loss": self._root(trainer, module, scope, window.close(), shown)}

    def _open(self, module: pl.LightningModule, trainer: pl.Trainer) -> Scope:
        def adopt(leaf: Tensor) -> str | None:
            for name, parameter in module.named_parameters():
                if parameter is leaf:
                    return name
            for optimizer in trainer.optimizers:
                if any(leaf is p for group in optimizer.param_groups for p in group["params"]):
                    return f"parameter {list(leaf.shape)} of {type(optimizer).__name__}"
            return None

        known = dict(module.named_parameters())
        scope = Scope(self.names, known, self._shared, adopt, self._blockwise)
        self._scope, self._n_agreed = scope, len(known)
        where = {name: position for position, name in enumerate(scope.names)}
        for positions, task in zip(scope.reached, self.names, strict=True):
            positions.update(where[name] for name in self._reached.get(task, ()) if name in where)
        return scope

    def _collect(self, trainer: pl.Trainer, scope: Scope, gathered: Gathered) -> Gathered | None:
        """The whole window where this batch closes it, else None."""
        this = _micro_batch(trainer)
        if this == self._last_batch:
            raise RuntimeError(
                "`accumulate='window'` met the same batch twice: the optimizer runs `training_step` several "
                "times a step; use `accumulate='micro_batch'`."
            )
        window = self._window or Window(scope)
        window.add(gathered)
        closes = _closes_window(trainer)
        self._last_batch, self._window = this, None if closes else window
        return window.close() if closes else None

    def _root(
        self, trainer: pl.Trainer, module: pl.LightningModule, scope: Scope, gathered: Gathered, shown: Tensor
    ) -> Tensor:
        losses, matrix = self._measure(trainer, module, scope, gathered)
        decision = self._decide(losses, matrix, trainer.global_step)
        values: dict[str, float | Array] = {"loss": losses, "weight": self._weights}
        for key, value in numbers(self.names, values).items():
            total, n = self._epoch.get(f"{key}_epoch", (0.0, 0))
            self._epoch[f"{key}_epoch"] = total + value, n + 1
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if every and (trainer.global_step + 1) % every == 0:
            found = numbers(self.names, {**values, "skipped": float(self.skipped), **told_by(decision)})
            module.log_dict(tensors(found), on_step=True, on_epoch=False)
        return inject(shown, scope.parameters, gathered.mixture(self._weights.tolist()))

    def _measure(
        self, trainer: pl.Trainer, module: pl.LightningModule, scope: Scope, gathered: Gathered
    ) -> tuple[Array, Array | None]:
        """Losses ``[m]``, NaN where absent on all ranks, and the Gramian ``[m, m]``, averaged over ranks."""
        ranks = trainer.world_size
        zero = next(iter(gathered.values.values()), torch.zeros((), device=module.device)).new_zeros(())
        there = [float(name in gathered.values) for name in self.names]
        values = torch.stack([gathered.values.get(name, zero).reshape(()) for name in self.names])
        grown = float(sum(map(len, scope.reached)) > self._n_reached)
        parts = [values, values.new_tensor([*there, grown])]
        matrix = [gathered.gramian(scope.shared)] if self.method.needs_gramian else []
        sums, told, *found = _to_host([*parts, *matrix], ranks)
        if ranks > 1 and told[-1] > 0.0:
            _agree(scope.reached, self._n_agreed, values.device)
            if found:
                found = _to_host([gathered.gramian(scope.shared)], ranks)
        self._note_reached(scope)
        with np.errstate(invalid="ignore"):
            losses: Array = sums / told[:-1]
        self._refuse(losses, (told[:-1] > 0.0).tolist(), trainer.global_step)
        return losses, found[0] if found else None

    def _note_reached(self, scope: Scope) -> None:
        n_reached = sum(map(len, scope.reached))
        if n_reached == self._n_reached:
            return
        self._n_reached = n_reached
        found = zip(self.names, scope.reached, strict=True)
        self._reached = {name: [scope.names[p] for p in sorted(each)] for name, each in found}
        if not scope.shared and all(scope.reached):
            self._notices.nothing_shared()

    def _refuse(self, losses: Array, there: Sequence[bool], step: int) -> None:
        for name, value, present in zip(self.names, losses, there, strict=True):
            if present and not np.isfinite(value):
                raise NotFiniteError(
                    f"`losses['{name}']` is {value} at step {step}; training stops before the update. "
                    "Look at that task's inputs of this batch, lower the learning rate or clip gradients."
                )

    def _decide(self, losses: Array, matrix: Array | None, step: int) -> Decision:
        """The method's weights, with those of absent tasks shared out among the others."""
        log_losses = self.ema.update(losses, step)
        decision = self.method.decide(StepState(matrix, losses, log_losses, step))
        finite = bool(np.isfinite(decision.weights).all())
        shares = np.abs(decision.weights if decision.shares is None else decision.shares)
        if finite:
            present = float(shares[~np.isnan(losses)].sum() / max(float(shares.sum()), 1e-300))
            self._weights = decision.weights / present if 0.0 < present < 1.0 else decision.weights
        skipped = decision.status == "skipped" or not finite
        self.skipped += skipped
        if step != self._step:
            self._of_step = []
            self._notices.look(decision, shares if finite and self.method.may_starve else None)
        self._step = step
        if not skipped:
            self._of_step.append(decision.weights)
        weights = np.mean(self._of_step, axis=0) if self._of_step else np.full(len(losses), np.nan)
        self.track.put(step, np.concatenate([log_losses, weights]))
        return decision

    def epoch_means(self) -> dict[str, Tensor]:
        """Means of losses and weights over the epoch's batches, by the key they are logged under."""
        found, self._epoch = {key: total / n for key, (total, n) in self._epoch.items()}, {}
        return tensors(found)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "task_names": list(self.names) or None,
            "ema": self.ema.state_dict(),
            "skipped": self.skipped,
            "reached": dict(self._reached),
            "method": self.method.described(),
            "state": self.method.state_dict() if self.names else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start with its tasks and what is theirs; counter and state of the method only from the same one."""
        self.start(tuple(state["task_names"]))
        self.ema.load_state_dict(state["ema"])
        self._reached = state["reached"]
        if state["method"] == self.method.described():
            self.skipped = int(state["skipped"])
            self.method.load_state_dict(state["state"])


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
    """Whether the optimizer steps after this batch, as Lightning decides it: schedulers change the window."""
    _, number = _micro_batch(trainer)
    full = number % trainer.accumulate_grad_batches == 0
    return full or bool(trainer.is_last_batch) or number >= trainer.num_training_batches


def _to_host(parts: Sequence[Tensor], world_size: int = 1) -> list[Array]:
    """Tensors on any devices as float64 arrays, averaged over the ranks; all of them in one transfer."""
    device = parts[0].device
    packed = torch.cat([part.detach().reshape(-1).to(device) for part in parts])
    if world_size > 1:
        torch.distributed.all_reduce(packed)  # a sum: gloo has no mean
        packed /= world_size
    host: Array = packed.cpu().double().numpy()
    ends = np.cumsum([part.numel() for part in parts])[:-1]
    return [flat.reshape(part.shape) for flat, part in zip(np.split(host, ends), parts, strict=True)]


def _agree(reached: Sequence[set[int]], n: int, device: torch.device) -> None:
    """Add to each task's positions, of n, what it has reached on other ranks."""
    mask = torch.zeros(len(reached), n, device=device)
    for row, found in zip(mask, reached, strict=True):
        row[[p for p in found if p < n]] = 1.0
    torch.distributed.all_reduce(mask)
    for known, row in zip(reached, mask.cpu(), strict=True):
        known.update(row.nonzero().flatten().tolist())
