"""Every balancer of TorchJD as a method, beside the Pareto ones, and all methods by name."""

import difflib
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch

from psst.pareto import Decision, FixedWeights, Method, MinNorm, StepState, Tradeoff
from psst.pareto.least_squares import Array
from psst.pareto.solver import scaled
from psst.randomness import stream_key

_OURS: dict[str, type[Method]] = {"fixed_weights": FixedWeights, "min_norm": MinNorm, "tradeoff": Tradeoff}
_WITH_ARGUMENTS = ("Levels", "Preference", "Ray")
_NOTHING = float(np.finfo(np.float64).tiny)
"""Weight in place of 0 where all are 0: a task of weight exactly 0 takes no part, so the others would."""


class TorchJD(Method):
    """A weighting or scalarizer of TorchJD, by name; docs/methods.md lists them.

    Weightings get this step's Gramian in float64 as it is. The weights of a scalarizer are the derivatives of
    its value by the losses; the parameters of UW and IMTLL follow the same value by Adam, an epoch of DWA is
    `epoch_steps` optimizer steps, and FAMO reads the progress of a step from the next step's losses.

    Weights may be negative (AlignedMTL, ConFIG, COSMOS, GradVac, IMTLG, PBI). A Gramian that is zero or not
    finite, a solver that fails, and weights that are not finite count as skipped: the weights of the step
    before are kept, equal ones at first, and the state is left alone.

    Args:
        name: Of TorchJD's class, without ``Weighting``.
        options: Its arguments, vectors as lists. The number of tasks (`shape`) is filled in; `projector`
            takes the arguments of ``QuadprogProjector``; `weighting` of CRMOGM takes a name, or
            ``{name: ..., options: {...}}``.
        learning_rate: Of Adam on the parameters of UW and IMTLL.
        normalize: Whether to bring the sum of the weights' sizes to 1, so that the learning rate means the
            same as with every other method. Lengths that a balancer gives on purpose are lost thereby.
        epoch_steps: Optimizer steps that DWA takes for an epoch.
        seed: Of the draws of GradVac, PCGrad and Random; a draw depends on it and its number alone.

    Raises:
        ImportError: A package that the balancer needs is not installed.
        ValueError: There is no such name, or the other arguments do not fit.

    Source:
        Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024 (TorchJD 0.18); UW: Kendall
        et al., 2018. Departures: FAMO's second forward and DWA's epochs, as above.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any] | None = None,
        learning_rate: float = 0.01,
        normalize: bool = True,
        epoch_steps: int = 100,
        seed: int = 0,
    ) -> None:
        if not 0.0 < learning_rate < math.inf:
            raise ValueError(
                f"`learning_rate={learning_rate}` must be positive and finite; 0.01 is the default."
            )
        if epoch_steps < 1:
            raise ValueError(f"`epoch_steps={epoch_steps}` must be at least 1; give the batches of an epoch.")
        self.name, self.options = name, options
        self.learning_rate, self.normalize = learning_rate, normalize
        self.epoch_steps, self.seed = epoch_steps, seed
        self.needs_gramian = _table().check(name, options or {})

    def start(self, n_tasks: int) -> None:
        """A fresh balancer for that many tasks; ValueError if its options do not fit them."""
        with torch.random.fork_rng(devices=[]):  # a trial draws
            arguments = self.name, self.options or {}, n_tasks, self.learning_rate, self.epoch_steps
            self._fed = _table().make(*arguments)
        self._weights: Array = np.full(n_tasks, 1.0 / n_tasks)
        self._decided = 0

    def decide(self, state: StepState) -> Decision:
        """TorchJD's weights; certificate ``weight_sum``: of the sizes of the weights as they came."""
        known = not self.needs_gramian or (state.gramian is not None and scaled(state.gramian) is not None)
        raw = self._ask(state) if known else None
        if raw is None or not np.isfinite(raw).all():
            return Decision(self._weights.copy(), 0.0, status="skipped")
        self._decided += 1
        size = float(np.abs(raw).sum())
        if size == 0.0:
            return Decision(np.full(len(raw), _NOTHING), 0.0, {"weight_sum": 0.0})
        self._weights = raw / size if self.normalize else raw
        return Decision(self._weights.copy(), 0.0, {"weight_sum": size})

    def _ask(self, state: StepState) -> Array | None:
        """``[m]``, or None where a solver fails."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_key("torchjd", self.seed, self._decided))
            try:
                return np.array(self._fed.weights(state).detach().numpy(), dtype=np.float64)
            except Exception:  # whatever its solver stumbles over
                if self._fed.strict:
                    raise
                return None

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, which ``torch.load(..., weights_only=True)`` reads."""
        counted = {"decided": self._decided, "weights": self._weights.tolist()}
        return {**counted, "balancer": self._fed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._decided = int(state["decided"])
        self._weights = np.array(state["weights"], dtype=np.float64)
        self._fed.load_state_dict(state["balancer"])


def method_named(name: str) -> Method:
    """A method with its default arguments.

    Args:
        name: One of ours, such as ``min_norm``, or of `TorchJD`'s, such as ``upgrad``; case, ``_`` and ``-``
            do not matter.

    Raises:
        ValueError: No method has that name, or it needs arguments.

    Example:
        >>> method = method_named("min_norm")
    """
    wanted = _plain(name)
    for own, kind in _OURS.items():
        if wanted == _plain(own):
            return kind()
    for other in _WITH_ARGUMENTS:
        if wanted == _plain(other):
            raise ValueError(f"`method={name}` needs arguments; make a {other} and give that.")
    theirs = {_plain(each): each for each in _table().ENTRIES}
    if wanted not in theirs:
        known = {**{_plain(own): own for own in _OURS}, **{key: each.lower() for key, each in theirs.items()}}
        (near,) = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
        raise ValueError(
            f"`method={name}` is the name of no method; the nearest is `{known[near]}`, all are "
            f"{', '.join(sorted(known.values()))}."
        )
    return TorchJD(theirs[wanted])


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _table() -> Any:
    """TorchJD is imported here, on first use."""
    return import_module("psst.balancers.torchjd_table")
