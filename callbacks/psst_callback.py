"""PSSTCallback: the weights of a module's losses decided at every step, by gradient injection."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning.callbacks import Callback

from psst.callbacks.checks import refuse_arguments, refuse_optimizers, refuse_unknown, refuse_unsupported
from psst.callbacks.pareto_step import ParetoStep
from psst.callbacks.wrapping import WrappedStep, read_lazy_losses
from psst.pareto import FixedWeights, Levels, Method, Tradeoff
from psst.pareto.coordinates import LossEMA
from psst.pareto.least_squares import Array
from psst.pareto.trajectory import Trajectory


class PSSTCallback(Callback):
    """Decide the weights of named losses at every step of any LightningModule under automatic optimization.

    Reads ``losses`` from the dict that ``training_step`` gives (scalars by name, the main one first or called
    ``main``; a task may be absent from a batch), asks the method for weights, and hands Lightning a loss of
    the same value whose backward gives the weighted gradient on shared parameters (those that two tasks have
    reached so far) and each task's own gradient on the others. Accumulation, clipping, gradient scaling and
    data parallelism stay Lightning's. Where the method needs no Gramian, a step is one weighted pass. Losses
    may be functions without arguments: each is called, differentiated and freed before the next, so that the
    peak of memory is that of one task.

    Optimizer steps are the one clock. A fit begins anew with a fresh copy of the method, unless it resumes;
    finders leave no trace, and only the trainer's training batches count. A Gramian that is zero or not
    finite counts as skipped; the gradient goes through, so that a gradient scaler sees an overflow.

    Logs under ``psst/``, every ``trainer.log_every_n_steps``: ``loss/<task>``, ``weight/<task>``,
    ``kkt_gap``, ``skipped``, ``phase`` (0 no ray, 1 inside the sector, 2 outside, 3 given up) and the
    method's certificates; and each epoch's means, ``loss/<task>_epoch`` and ``weight/<task>_epoch``. After a
    fit, `trajectory`, `mean_weights` and `as_fixed_weights` tell of that fit alone.

    Args:
        method: What decides the weights, or its name: ``"min_norm"``, ``"upgrad"`` and all of TorchJD's. By
            default ``Tradeoff(tradeoff)``, or ``Levels(levels, tradeoff)``.
        tradeoff: In [0, 1]: 0 for the main loss only, 1 for all losses alike; 0.3 by default.
        levels: Largest wanted values of named losses, to which the main one is minimized.
        ema: Largest decay of the running mean of the losses, in [0, 1).
        scope: What the Gramian is taken over. ``"parameters"``: all shared parameters. ``"last_block"``: the
            last block of them, for losses of one forward: the rest is passed once, weighted.
        shared: Names of the shared parameters or of modules that hold them, e.g. ``["backbone"]``; found from
            the graphs by default.
        accumulate: With accumulated batches, weights for each ``"micro_batch"``, or once a ``"window"`` on
            its mean gradients and losses, as one large batch would have them; the window costs m more
            copies of the gradients, and one that a checkpoint cuts goes on with the batches that are left.
        main: Name of the main loss, where it is neither first nor called ``main``.

    Raises:
        TypeError: `method` is no method and no name.
        ValueError: `method` is given beside `tradeoff` or `levels`, an argument is out of range, or two do
            not go together.

    Example:
        >>> from psst.callbacks import PSSTCallback
        >>> callback = PSSTCallback(tradeoff=0.3)
    """

    def __init__(
        self,
        method: Method | str | None = None,
        tradeoff: float | None = None,
        levels: dict[str, float] | None = None,
        ema: float = 0.99,
        scope: Literal["parameters", "last_block"] = "parameters",
        shared: Sequence[str] | None = None,
        accumulate: Literal["micro_batch", "window"] = "micro_batch",
        main: str | None = None,
    ) -> None:
        self._prototype = deepcopy(_chosen(method, tradeoff, levels))
        self._ema = LossEMA(ema).decay
        refuse_arguments(scope, shared, accumulate, main)
        self._scope, self._shared, self._accumulate, self._main = scope, shared, accumulate, main
        self._restored: Mapping[str, Any] | None = None
        self._continued: Mapping[str, Any] | None = None
        self._wrapped: WrappedStep | None = None
        self._step = self._fresh()

    @property
    def state_key(self) -> str:
        """One key for all methods, so that a run can go on from the checkpoint of another method's."""
        return "PSSTCallback"

    @property
    def method(self) -> Method:
        """What decides in this fit: a copy of what was given."""
        return self._step.method

    @property
    def skipped(self) -> int:
        """Steps whose Gramian was zero or not finite, resumed runs included."""
        return self._step.skipped

    @property
    def mean_weights(self) -> Array:
        """``[m]`` mean of the weights decided in this fit; NaN before the first."""
        return _mean_of(self._rows()[1])

    def as_fixed_weights(self) -> FixedWeights:
        """Fixed weights that give what this run had in the mean of its last half: cheaper, and competitive.

        Raises:
            ValueError: Nothing was decided yet, or the main task had no weight.
        """
        weights = self._rows()[1]
        mean = _mean_of(weights[len(weights) // 2 :])
        if not len(mean) or not mean[0] > 0.0 or (mean < 0.0).any():
            raise ValueError(
                f"The mean weights {mean.tolist()} of the last half are no fixed weights: they need a "
                "positive one of the main task and none below 0; run a fit first."
            )
        return FixedWeights([float(f"{weight:.3g}") for weight in mean[1:] / mean[0]])

    @property
    def trajectory(self) -> Trajectory:
        """Log of the averaged losses at each optimizer step of this fit, with its mean weights.

        Raises:
            ValueError: A loss has no logarithm.
        """
        points, _ = self._rows()
        for name, column in zip(self._step.names, points.T, strict=True):
            if np.isnan(column).any():
                raise ValueError(
                    f"`losses['{name}']` was not positive in the mean, so its trajectory has no logarithm; "
                    "add a constant to that loss."
                )
        return Trajectory(points, self._step.track.first_step, self.mean_weights)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what cannot work, then stand behind ``training_step``. A checkpoint is read after this."""
        if stage != "fit":
            return
        refuse_unsupported(trainer, pl_module)
        goes_on = trainer.global_step > 0 and bool(self._step.names)  # another fit of the same trainer
        self._restored = self._step.state_dict() if goes_on else None
        self._continued = None
        self._step = self._fresh()
        self._wrapped = WrappedStep(pl_module, lambda output: self._after_step(trainer, pl_module, output))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what only now exists, the module's ``task_names`` too."""
        refuse_optimizers(trainer)
        refuse_unknown(self._shared or (), [name for name, _ in pl_module.named_parameters()])
        self._begin(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin: what a finder has tried in between is forgotten."""
        self._begin(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's means."""
        pl_module.log_dict(self._step.epoch_means(), sync_dist=trainer.world_size > 1)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell which fixed weights the run amounts to."""
        try:
            fixed = self.as_fixed_weights().auxiliary
        except ValueError:
            return
        rank_zero_info(f"PSSTCallback: its last half had the weights of FixedWeights(auxiliary={fixed}).")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the module its ``training_step`` back."""
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the module its ``training_step`` back: no teardown follows an exception."""
        self._restore()

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        if not self._step.names and self._restored is not None:
            return dict(self._restored)
        return self._step.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the beginning of the fit, see `ParetoStep.load_state_dict`."""
        self._restored = state_dict if state_dict["task_names"] else None

    def fit_state(self) -> dict[str, Any]:
        """What `trajectory` and `mean_weights` are made of: unlike `state_dict`, it is of this fit alone."""
        track = self._step.track.state_dict()
        return {**track, "rows": torch.from_numpy(track["rows"])}

    def continue_fit(self, state: Mapping[str, Any]) -> None:
        """Make a fit that is resumed from a checkpoint one with that in which `fit_state` was taken.

        Args:
            state: Taken with the checkpoint; to be given while the checkpoint is read.
        """
        self._continued = state

    def _fresh(self, first_step: int = 0) -> ParetoStep:
        settings = self._ema, self._scope, self._shared, self._accumulate
        return ParetoStep(deepcopy(self._prototype), *settings, first_step)

    def _begin(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The one reset: a fresh step, with what a checkpoint or an earlier fit has left for it."""
        self._step = self._fresh(trainer.global_step)
        names = getattr(module, "task_names", None)
        if self._restored is not None:
            self._step.load_state_dict(self._restored)
        if isinstance(names, Sequence) and not isinstance(names, str):
            self._start(tuple(names))
        if self._continued is not None:
            self._step.track.load_state_dict(self._continued)

    def _after_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, output: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        if not torch.is_grad_enabled() or not trainer.training:  # a validation that calls ``training_step``
            return output
        if output is None:  # Lightning skips this batch
            return self._step.close(trainer, module)
        losses = read_lazy_losses(output, module)
        self._start(tuple(losses))
        ordered = {name: losses[name] for name in self._step.names if name in losses}
        return self._step(trainer, module, ordered, output)

    def _start(self, found: tuple[str, ...]) -> None:
        """Start the step with the first names of a fit, the main one first; hold later ones against them."""
        known = self._step.names
        if known and not set(found) <= set(known):
            raise ValueError(
                f"`losses` must keep its tasks {list(known)}, found {list(found)}; name all of them in "
                "`task_names` of the module where some are absent at first, and resume only from a "
                "checkpoint of the same tasks."
            )
        if known:
            return
        if len(found) < 2:
            raise ValueError(
                f"`losses` must hold at least two tasks to weight, found {list(found)}; add one, such as "
                "`auxiliary: [psst.tasks.Rotation]`, or leave PSSTCallback out: `trainer: {callbacks: []}`."
            )
        if self._main is not None and self._main not in found:
            raise ValueError(f"`main='{self._main}'` must be one of the losses {list(found)}.")
        first = self._main or ("main" if "main" in found else found[0])
        if self._main is None and first != "main":
            rank_zero_info(
                f"PSSTCallback takes `{first}` for the main loss, the first; `main=` names another."
            )
        self._step.start((first, *(name for name in found if name != first)))

    def _rows(self) -> tuple[Array, Array]:
        """``[steps, m]`` log losses, and weights."""
        rows, m = self._step.track.rows, len(self._step.names)
        return (rows[:, :m], rows[:, m:]) if len(rows) else (np.zeros((0, m)), np.zeros((0, m)))

    def _restore(self) -> None:
        if self._wrapped is not None:
            self._wrapped.restore()
            self._wrapped = None


def _mean_of(weights: Array) -> Array:
    known = weights[~np.isnan(weights).any(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(weights.shape[1], np.nan)


def _chosen(method: object, tradeoff: float | None, levels: dict[str, float] | None) -> Method:
    """The method that the arguments describe."""
    if levels is not None and method is None:
        return Levels(levels, 0.0 if tradeoff is None else tradeoff)
    if method is None:
        return Tradeoff() if tradeoff is None else Tradeoff(tradeoff)
    for name, value in {"tradeoff": tradeoff, "levels": levels}.items():
        if value is not None:
            raise ValueError(
                f"`method` and `{name}` exclude each other, got {method!r} and {value}; give it to the "
                "method, or leave `method` out."
            )
    if isinstance(method, str):
        from psst.balancers import method_named  # TorchJD is looked at only where it is asked for

        return method_named(method)
    if not isinstance(method, Method):
        raise TypeError(
            f"`method` must be a `psst.pareto.Method` or a name such as 'upgrad', got {method!r:.80}; make "
            "an object of a class, or leave it out for a `tradeoff`."
        )
    return method
