"""PSSTCallback: the weights of a module's losses decided at every step, by gradient injection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer

from psst.callbacks.checks import named_positions, refuse_optimizers, refuse_unsupported
from psst.callbacks.pareto_step import ParetoStep
from psst.callbacks.settings import Accumulate, Denoise, ScopeName, Settings, as_names
from psst.callbacks.wrapping import WrappedStep, read_lazy_losses
from psst.pareto.coordinates import LossEMA
from psst.pareto.methods import Method, Tradeoff
from psst.pareto.rays import Trajectory

Vector = npt.NDArray[np.float64]


class PSSTCallback(Callback):
    """Decide the weights of named losses at every step of any LightningModule under automatic optimization.

    Reads ``losses`` from the dict that ``training_step`` gives (scalars by name, ``main`` first), takes one
    gradient a task, asks the method for weights, and hands Lightning a loss of the same value whose backward
    gives the weighted gradient on shared parameters (those that two tasks have reached so far) and each
    task's own gradient on the others. Accumulation, clipping, gradient scaling and data parallelism stay
    Lightning's; the trajectory gets one point an optimizer step. A Gramian that is zero or not finite is
    counted as skipped; the method then falls back on weights of its own and the gradient goes through, so
    that a gradient scaler sees an overflow.

    Losses may also be functions without arguments: ``{"losses": {"main": lambda: ..., ...}}``. Each is
    called, differentiated and freed before the next, so that the peak of memory is that of one task.

    Logs every ``trainer.log_every_n_steps``, under ``psst/``: ``loss/<task>``, ``weight/<task>``,
    ``kkt_gap``, ``skipped``, ``phase`` (0 warm-up or no ray, 1 inside the sector, 2 outside, 3 given up), the
    method's certificates (``error/<task>``, ``tilt/<task>``, ``flips``, ...) and, from the denoised Gramian,
    ``cosine/<a>-<b>`` and ``criticality``, which is ``||sum_i w_i g_i|| / min_i ||g_i||``. After a fit,
    `trajectory` and `mean_weights` tell of that fit alone.

    Args:
        method: What decides the weights; by default ``Tradeoff(tradeoff, warmup_steps)``.
        tradeoff: In [0, 1], 0 for the main loss only; 0.5 by default. Not together with `method`.
        warmup_steps: Steps of equal weights before `tradeoff` takes hold; unused with `method`.
        ema: Decay of the running mean of the losses, in [0, 1).
        scope: What the Gramian is taken over. ``"parameters"``: all shared parameters. ``"last_block"``: the
            last block of them, for losses of one forward: the rest is passed once, weighted. ``"features"``:
            the tensor that ``training_step`` returns as ``features`` and all losses read (MGDA-UB).
        shared: Names of the shared parameters or of modules that hold them, e.g. ``["backbone"]``; found from
            the graphs by default.
        denoise: How the denoised Gramian is made, on which conflict rows and the logged cosines rest, from
            100 steps on: ``"ema"`` from running means of the gradients, ``"product"`` from neighboring
            batches, None (the default) not at all. Either costs m more copies of the shared gradients, in
            memory and in every checkpoint. There is none for ``scope="features"``.
        accumulate: With accumulated batches, weights for each ``"micro_batch"``, or once a ``"window"`` on
            its mean gradients and losses, as one large batch would have them; the window costs m more
            copies of the gradients, and one that a checkpoint cuts goes on with the batches that are left.

    Raises:
        ValueError: `method` and `tradeoff` are both given, an argument is out of range, or `accumulate` and
            `scope`, or `method` and `denoise`, do not go together.
    """

    def __init__(
        self,
        method: Method | None = None,
        tradeoff: float | None = None,
        warmup_steps: int = 200,
        ema: float = 0.99,
        scope: ScopeName = "parameters",
        shared: Sequence[str] | None = None,
        denoise: Denoise | None = None,
        accumulate: Accumulate = "micro_batch",
    ) -> None:
        if method is not None and tradeoff is not None:
            raise ValueError(
                f"`method` and `tradeoff` exclude each other, got {type(method).__name__} and {tradeoff}; "
                "give the trade-off to the method, or leave `method` out."
            )
        self.method = method or Tradeoff(0.5 if tradeoff is None else tradeoff, warmup_steps)
        self._fresh = self.method.state_dict()
        self._settings = Settings(scope, as_names(shared), denoise, accumulate)
        if self.method.needs_denoised and self._settings.denoiser() is None:
            raise ValueError(
                f"`method` ({type(self.method).__name__}) decides by a denoised Gramian, which "
                f"`denoise={denoise}` with `scope='{scope}'` does not give; set `denoise: ema` and "
                "`scope: parameters`."
            )
        self._step = ParetoStep(self.method, LossEMA(ema), self._settings)
        self._points: list[Vector] = []
        self._wrapped: WrappedStep | None = None
        self._restored_names: tuple[str, ...] | None = None
        self._method_state: Mapping[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """One key for all methods, so that a run can go on from the checkpoint of another method's."""
        return "PSSTCallback"

    @property
    def skipped(self) -> int:
        """Steps whose Gramian was zero or not finite, resumed runs included."""
        return self._step.skipped

    @property
    def mean_weights(self) -> Vector:
        """``[m]`` mean of the weights decided in this fit; NaN before the first."""
        if self._step.n_decisions == 0:
            return np.full(len(self._step.weights), np.nan)
        return self._step.weight_sum / self._step.n_decisions

    @property
    def trajectory(self) -> Trajectory:
        """Log of the averaged losses at each optimizer step of this fit, with its mean weights.

        Raises:
            ValueError: A loss has no logarithm, which only methods without rays put up with.
        """
        points = np.array(self._points).reshape(-1, len(self._step.weights))
        for name, column in zip(self._step.names or (), points.T, strict=True):
            if np.isnan(column).any():
                raise ValueError(
                    f"`losses['{name}']` was not positive in the mean, so its trajectory has no logarithm; "
                    "add a constant to that loss."
                )
        return Trajectory(points, self._step.first_step, self.mean_weights)

    @property
    def unreachable(self) -> bool:
        """Whether the method has given up steering towards its ray."""
        return self._step.unreachable

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what cannot work, then stand behind ``training_step``. A checkpoint is read after this."""
        if stage != "fit":
            return
        refuse_unsupported(trainer, pl_module)
        previous, self._points = self._step, []
        self._step = ParetoStep(self.method, LossEMA(previous.ema.decay), self._settings)
        self._restored_names = self._method_state = None
        if trainer.global_step > 0 and previous.names is not None:  # another fit of the same trainer goes on
            self._step.ema, self._step.skipped = previous.ema, previous.skipped
            self._step.denoiser, self._step.reached = previous.denoiser, previous.reached
            self._step.parameters = previous.parameters
            self._restored_names, self._method_state = previous.names, self.method.state_dict()
        elif previous.names is not None:  # a fresh trainer begins anew
            self.method.load_state_dict(self._fresh)
        self._wrapped = WrappedStep(pl_module, lambda output: self._after_step(trainer, pl_module, output))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what only now exists; start the method where the module tells its ``task_names``."""
        refuse_optimizers(trainer)
        if self._settings.shared is not None:
            named_positions(self._settings.shared, [name for name, _ in pl_module.named_parameters()])
        names = getattr(pl_module, "task_names", None)
        if isinstance(names, Sequence):
            self._start(tuple(names))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Record the trajectory: one point an optimizer step, whatever the number of micro-batches."""
        if self._step.log_losses is not None:
            self._points.append(self._step.log_losses)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the module its ``training_step`` back."""
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the module its ``training_step`` back: no teardown follows an exception."""
        self._restore()

    def state_dict(self) -> dict[str, Any]:
        """Plain values, and the denoiser's remembered gradients as tensors on the CPU."""
        return {
            "task_names": None if self._step.names is None else list(self._step.names),
            "ema": self._step.ema.state_dict(),
            "skipped": self._step.skipped,
            "parameters": self._step.parameters,
            "reached": [sorted(positions) for positions in self._step.reached],
            "denoiser": None if self._step.denoiser is None else self._step.denoiser.state_dict(),
            "method": {"class_path": _class_path(self.method), "state": self.method.state_dict()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what belongs to the tasks; counter and method state only from the same method."""
        names = state_dict["task_names"]
        self._restored_names = None if names is None else tuple(names)
        self._step.ema.load_state_dict(state_dict["ema"])
        self._step.parameters = state_dict.get("parameters")
        self._step.reached = [set(positions) for positions in state_dict.get("reached", [])]
        if self._step.denoiser is not None and state_dict.get("denoiser") is not None:
            self._step.denoiser.load_state_dict(state_dict["denoiser"])
        if state_dict["method"]["class_path"] == _class_path(self.method):
            self._step.skipped = int(state_dict["skipped"])
            self._method_state = state_dict["method"]["state"]

    def fit_state(self) -> dict[str, Any]:
        """What `trajectory` and `mean_weights` are made of: unlike `state_dict`, it is of this fit alone."""
        return {"points": torch.tensor(np.array(self._points)), "step": self._step.fit_state()}

    def continue_fit(self, state: Mapping[str, Any]) -> None:
        """Make a fit that is resumed from a checkpoint one with that in which `fit_state` was taken.

        Args:
            state: Taken with the checkpoint; to be given while the checkpoint is read.
        """
        self._points = list(state["points"].numpy())
        self._step.continue_fit(state["step"])

    def _after_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, output: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        if not torch.is_grad_enabled():  # a validation that calls ``training_step``
            return output
        if output is None:  # Lightning skips this batch
            return self._step.close(trainer, module)
        losses = read_lazy_losses(output, module)
        self._start(tuple(losses))
        return self._step(trainer, module, losses, output)

    def _start(self, names: tuple[str, ...]) -> None:
        """Start the step with the first names of a fit; hold later ones, and a checkpoint's, against them."""
        known = self._step.names or self._restored_names
        if known is not None and known != names:
            raise ValueError(
                f"`losses` must keep its tasks {list(known)}, found {list(names)}; return the same names at "
                "every step, and resume only from a checkpoint of the same tasks."
            )
        if len(names) < 2:
            raise ValueError(
                f"`losses` must hold at least two tasks to weight, found {list(names)}; add an auxiliary "
                "task, or train without PSSTCallback."
            )
        if self._step.names is None:
            self._step.start(names, self._method_state)

    def _restore(self) -> None:
        if self._wrapped is not None:
            self._wrapped.restore()
            self._wrapped = None


def _class_path(method: Method) -> str:
    return f"{type(method).__module__}.{type(method).__qualname__}"
