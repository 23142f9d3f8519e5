"""The reference of the trainer tests: a plain PyTorch loop with one gradient a task, without Lightning."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from two_tasks import largest_difference, loader
from two_tasks import trainer as quiet_trainer

from psst.callbacks import PSSTCallback
from psst.pareto import Decision, Method, Preference, RaySet, StepState

#: Float32 rounding over a few steps: both sides add the same products, in another order.
ROUNDING = 5e-6


class Smooth(Method):
    """Weights that depend smoothly on everything a method sees, so that an error in any of it shows."""

    def __init__(self):
        self.decided, self.states = [], []

    def __deepcopy__(self, memo):
        return self  # what it has seen is read after the fit

    def start(self, n_tasks):
        self.n_tasks = n_tasks

    def decide(self, state):
        self.states.append(state)
        norms = np.sqrt(np.diag(state.gramian) + 0.01 * state.gramian.trace())
        cosines = (state.gramian / np.outer(norms, norms)).sum(axis=1)
        score = 2.0 * state.log_losses - 0.5 * np.log(norms) + 0.2 * cosines + 0.5 * state.losses
        weights = np.exp(score - score.max())
        self.decided.append(weights / weights.sum())
        return Decision(self.decided[-1], 0.0)


class Told(Preference):
    """A method with a memory that looks at losses only: drift, patience, flips. Its decisions are kept."""

    __deepcopy__ = Smooth.__deepcopy__

    def __init__(self):
        super().__init__(RaySet.from_losses([[1.0, 1.2], [1.2, 1.0]]), 0)
        self.decided, self.states = [], []

    def start(self, n_tasks):
        super().start(n_tasks)
        self.needs_gramian = True  # to be compared

    def decide(self, state):
        decision = super().decide(state)
        self.states.append(state)
        self.decided.append(decision.weights)
        return decision


@dataclass
class HandLoop:
    """Train a module by its ``training_step`` alone, called as an ordinary function.

    Attributes:
        method: What decides the weights.
        accumulate: Micro-batches an update. As in Lightning a short last window is divided by as many.
        window: One decision an update, on the window's gradients, instead of one a micro-batch.
        ranks: Parts of each batch, as a distributed sampler deals them; losses, Gramians and gradients are
            averaged over them.
        clip: Applied to the parameters before an update.
        autocast: Makes the context of the forward pass.
        scaler: Scales the losses before they are differentiated, and may refuse an update.
        ema: Largest decay of the running mean of the losses, which counts updates.
        after_update: Called with the module after an update.
    """

    method: Method
    accumulate: int = 1
    window: bool = False
    ranks: int = 1
    clip: Callable = lambda parameters: None
    autocast: Callable = nullcontext
    scaler: torch.amp.GradScaler | None = None
    ema: float = 0.99
    after_update: Callable = lambda module: None
    n_updates: int = 0
    before: np.ndarray | float = 0.0
    seen: list[np.ndarray] = field(default_factory=list)
    reached: list[set[int]] = field(default_factory=list)

    def fit(self, module, batches, epochs=1):
        optimizer, scheduler, interval = configured(module)
        module.train()
        for _ in range(epochs):
            for first in range(0, len(batches), self.accumulate):
                indices = range(first, min(first + self.accumulate, len(batches)))
                self.differentiate(module, [(batches[index], index) for index in indices])
                self.update(module, optimizer)
                if interval == "step":
                    scheduler.step()
            if interval == "epoch":
                scheduler.step()
        return module

    def update(self, module, optimizer):
        if self.scaler is None:
            self.clip(module.parameters())
            optimizer.step()
        else:
            for parameter in module.parameters():
                parameter.grad = None if parameter.grad is None else self.scaler.scale(parameter.grad)
            self.scaler.unscale_(optimizer)
            self.clip(module.parameters())
            self.scaler.step(optimizer)
            self.scaler.update()
        self.before, self.seen = self.mean(), []
        self.n_updates += 1
        self.after_update(module)

    def differentiate(self, module, micro_batches):
        """Fill ``.grad`` with the mean of the mixtures of the micro-batches."""
        found = [
            [
                self.task_gradients(module, [part[rank :: self.ranks] for part in batch], index, rank)
                for batch, index in micro_batches
            ]
            for rank in range(self.ranks)
        ]
        share = 1 / self.accumulate
        if self.window:
            found, share = [[window_mean(of_rank)] for of_rank in found], len(micro_batches) * share
        mixtures = [self.mix(by_rank) for by_rank in zip(*found, strict=True)]
        for parameter, parts in zip(module.parameters(), zip(*mixtures, strict=True), strict=True):
            parameter.grad = total(parts, share)

    def task_gradients(self, module, batch, index, rank=0):
        """Losses ``[m]``, NaN for what is absent, and for each task one gradient, or None, a parameter."""
        module.rank = rank
        with self.autocast():
            losses = module.training_step(batch, index)["losses"]
        names = sorted(getattr(module, "names", losses), key=lambda name: name != "main")
        losses = [losses.get(name, torch.tensor(torch.nan)) for name in names]
        if not self.reached:
            self.reached = [set() for _ in losses]
            self.method.start(len(losses))
        parameters = list(module.parameters())
        where = [i for i, parameter in enumerate(parameters) if parameter.requires_grad]
        leaves = [parameters[i] for i in where]
        gradients = [[None] * len(parameters) for _ in losses]
        for row, reached, loss in zip(gradients, self.reached, losses, strict=True):
            scale = 1.0 if self.scaler is None else self.scaler.scale(torch.ones((), device=loss.device))
            if not loss.requires_grad:
                continue
            found = torch.autograd.grad(loss.float() * scale, leaves, retain_graph=True, allow_unused=True)
            for i, value in zip(where, found, strict=True):
                if value is not None:
                    row[i] = value / scale
                    reached.add(i)
        return np.array([loss.item() for loss in losses]), gradients

    def mean(self):
        """Of the losses: an update counts once, however many micro-batches it is made of."""
        keep = min(self.ema, 1 - 10 / (self.n_updates + 10))
        return keep * self.before + (1 - keep) * np.mean(self.seen, axis=0)

    def mix(self, by_rank):
        """The weighted gradient of parameters that two tasks have reached, the plain sum of the others."""
        losses = np.nanmean([losses for losses, _ in by_rank], axis=0)
        n_parameters = len(by_rank[0][1][0])
        shared = [sum(i in reached for reached in self.reached) > 1 for i in range(n_parameters)]
        jacobians = [jacobian(gradients, shared) for _, gradients in by_rank]
        matrix = np.mean([rows @ rows.T for rows in jacobians], axis=0)
        self.seen.append(losses)
        with np.errstate(invalid="ignore"):
            logs = np.log(self.mean())
        weights = self.method.decide(StepState(matrix, losses, logs, self.n_updates)).weights
        if not np.isfinite(weights).all():
            weights = np.full(len(losses), 1 / len(losses))
        mixture = []
        for i, is_shared in enumerate(shared):
            parts = [
                (float(w) if is_shared else 1.0) * row[i] / self.ranks
                for _, gradients in by_rank
                for w, row in zip(weights, gradients, strict=True)
                if row[i] is not None
            ]
            mixture.append(total(parts))
        return mixture


def jacobian(gradients, shared):
    """``[m, P]`` float64, of the shared parameters; zero where a task has no gradient."""
    columns = [
        column for column, is_shared in zip(zip(*gradients, strict=True), shared, strict=True) if is_shared
    ]
    return torch.cat([flat(column) for column in columns], dim=1).cpu().numpy()


def window_mean(found):
    """Mean losses and mean gradients of the micro-batches of one window."""
    tasks = zip(*(gradients for _, gradients in found), strict=True)
    return np.mean([losses for losses, _ in found], axis=0), [
        [total(parts, 1 / len(found)) for parts in zip(*task, strict=True)] for task in tasks
    ]


def flat(column):
    """``[m, n]`` float64: the gradients of one parameter, zero where a task has none."""
    like = next((value for value in column if value is not None), torch.zeros(1))
    return (
        torch.stack([torch.zeros_like(like) if value is None else value for value in column])
        .double()
        .flatten(1)
    )


def total(parts, factor=1.0):
    """Sum of what is there times a factor, None where nothing is."""
    there = [part for part in parts if part is not None]
    return factor * sum(there[1:], there[0]) if there else None


def configured(module):
    """Optimizer, scheduler and its interval from ``configure_optimizers``."""
    found = module.configure_optimizers()
    if not isinstance(found, dict):
        return found, None, None
    scheduler = found["lr_scheduler"]
    return found["optimizer"], scheduler["scheduler"], scheduler["interval"]


def fit(module, *callbacks, n_batches=6, batches=None, ckpt_path=None, validation=None, **settings):
    """Fit by a quiet Trainer, which is returned."""
    run = quiet_trainer(**settings)
    run.callbacks[:0] = callbacks
    run.fit(module, loader(n_batches) if batches is None else batches, validation, ckpt_path=ckpt_path)
    return run


def assert_parity(
    make,
    *others,
    reference=None,
    n_batches=6,
    max_epochs=2,
    tolerance=ROUNDING,
    by_hand=None,
    psst=None,
    **settings,
):
    """A Trainer with PSSTCallback and the loop by hand take the same weights to the same parameters.

    Args:
        make: Gives the module, the same at each call.
        others: More callbacks of the Trainer.
        reference: Gives the module of the loop by hand, where that is another.
        n_batches: Batches an epoch.
        max_epochs: Epochs.
        tolerance: Largest difference of a parameter, a buffer or a weight.
        by_hand: Arguments of `HandLoop`.
        psst: Arguments of PSSTCallback.
        settings: Of the Trainer.

    Returns:
        The Trainer, and the module it trained.
    """
    loop = HandLoop(Smooth(), **(by_hand or {}))
    reference = reference or make
    expected = loop.fit(reference(), list(loader(n_batches)), max_epochs)
    ours, method = make(), Smooth()
    callbacks = PSSTCallback(method, **(psst or {})), *others
    run = fit(ours, *callbacks, n_batches=n_batches, max_epochs=max_epochs, **settings)
    assert_same_run(method, loop.method, tolerance)
    assert largest_difference(reference(), expected) > 100 * tolerance  # it did train
    assert largest_difference(expected, ours) < tolerance
    return run, ours


def assert_same_run(ours, by_hand, tolerance=ROUNDING):
    """Two `Smooth` methods saw the same and answered the same; weights react up to ten times as strongly."""
    assert [state.step for state in ours.states] == [state.step for state in by_hand.states]
    for key in ("gramian", "losses", "log_losses"):
        for one, other in zip(ours.states, by_hand.states, strict=True):
            expected = getattr(other, key)
            scale = np.abs(expected).max()
            assert np.allclose(
                getattr(one, key), expected, rtol=0, atol=50 * tolerance * scale, equal_nan=True
            )
    assert np.allclose(ours.decided, by_hand.decided, rtol=0, atol=10 * tolerance)
    assert np.ptp(ours.decided, axis=0).max() > 50 * tolerance  # weights that move
