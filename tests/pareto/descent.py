"""Gradient descent of many runs side by side, each with its own method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from psst.pareto import Method, StepState
from psst.pareto.coordinates import LossEMA
from tests.pareto.problems import Array, Problem

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Conditions:
    """What makes descent hard.

    Attributes:
        gradient_noise: Length of the Gaussian error of each task gradient, relative to the gradient's own.
        loss_noise: Standard deviation of a batch's loss, relative to the loss.
        ema: Decay of the running mean through which methods see the losses.
        fading: Whether steps shrink to nothing along a cosine, as in training, so that noise averages out.
        trend: ``[steps, m]`` factors of the losses in time.
        paired: Whether all runs see the same noise, as on one batch stream.
        longer: Factor of the number of steps, the step being shorter by it.
        adam: Whether the steps are Adam's, a tenth as long.
    """

    gradient_noise: float = 0.0
    loss_noise: float = 0.0
    ema: float = 0.0
    fading: bool = True
    trend: Array | None = None
    paired: bool = False
    longer: float = 1.0
    adam: bool = False


@dataclass(frozen=True)
class Ending:
    """Where runs ended.

    Attributes:
        losses: ``[runs, m]``.
        points: ``[runs, n]``.
        gap: Largest KKT gap of all steps.
        unreachable: ``[runs]`` whether the method has given up.
        nearest: ``[runs]`` nearest distance to the ray, in units of the error.
        logs: ``[steps, runs, m]`` what the methods saw.
        weights: ``[runs, m]`` mean over the last tenth.
    """

    losses: Array
    points: Array
    gap: float
    unreachable: Array
    nearest: Array
    logs: Array
    weights: Array


def step_sizes(problem: Problem, conditions: Conditions) -> Array:
    """``[steps]``."""
    n_steps = int(problem.n_steps * conditions.longer)
    shape = 0.5 * (1.0 + np.cos(np.linspace(0.0, np.pi, n_steps))) if conditions.fading else np.ones(n_steps)
    return problem.step / conditions.longer * shape


def descend(
    problem: Problem,
    methods: Sequence[Method],
    starts: Array,
    conditions: Conditions | None = None,
    seed: int = 0,
) -> Ending:
    """Plain gradient descent with the methods' weights.

    Args:
        problem: What is minimized.
        methods: One a run, not started.
        starts: ``[runs, n]``.
        conditions: None of them by default.
        seed: Of the noise.
    """
    conditions = conditions or Conditions()
    rng, ema = np.random.default_rng(seed), LossEMA(conditions.ema)
    sizes, m = step_sizes(problem, conditions), problem.n_tasks
    points, gap, kept = starts.copy(), 0.0, []
    sums, late = np.zeros((len(methods), m)), len(sizes) - max(len(sizes) // 10, 1)
    adam = Adam(points.shape)
    for method in methods:
        method.name_tasks(["main", *(f"other {task}" for task in range(1, m))])
        method.start(m)
    for step, size in enumerate(sizes):
        losses, exact = problem(points)
        if conditions.trend is not None:
            losses, exact = losses * conditions.trend[step], exact * conditions.trend[step][:, None]
        gradients = exact
        if conditions.gradient_noise:
            error = _normal(rng, exact.shape, conditions.paired) / np.sqrt(exact.shape[2])
            gradients = (
                exact + conditions.gradient_noise * np.linalg.norm(exact, axis=2, keepdims=True) * error
            )
        seen = np.maximum(losses, TINY)
        if conditions.loss_noise:
            seen = seen * np.exp(conditions.loss_noise * _normal(rng, seen.shape, conditions.paired))
        logs = ema.update(seen.ravel()).reshape(seen.shape)
        kept.append(logs)
        gramians = gradients @ gradients.transpose(0, 2, 1)
        decisions = [
            method.decide(StepState(gramians[run], seen[run], logs[run], step))
            for run, method in enumerate(methods)
        ]
        weights = np.stack([decision.weights for decision in decisions])
        gap = max(gap, *(decision.kkt_gap for decision in decisions))
        way = np.einsum("rm,rmn->rn", weights, gradients)
        points = points - size * (adam(way, step) if conditions.adam else way)
        if step >= late:
            sums += weights
    certificates = [decision.certificates for decision in decisions]
    losses = problem(points)[0]
    if conditions.trend is not None:
        losses = losses * conditions.trend[-1]
    return Ending(
        np.maximum(losses, TINY),
        points,
        gap,
        np.array([float(found.get("unreachable", 0.0)) > 0.0 for found in certificates]),
        np.array([float(found.get("nearest_distance", np.nan)) for found in certificates]),
        np.stack(kept),
        sums / (len(sizes) - late),
    )


class Adam:
    """Kingma and Ba, 2015, with the usual decays; directions a tenth as long, for a learning rate."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.first, self.second = np.zeros(shape), np.zeros(shape)

    def __call__(self, way: Array, step: int) -> Array:
        self.first = 0.9 * self.first + 0.1 * way
        self.second = 0.999 * self.second + 0.001 * way**2
        mean, square = self.first / (1.0 - 0.9 ** (step + 1)), self.second / (1.0 - 0.999 ** (step + 1))
        return 0.1 * mean / (np.sqrt(square) + 1e-30)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], paired: bool) -> Array:
    return rng.standard_normal(shape[1:] if paired else shape)
