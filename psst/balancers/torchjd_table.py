"""TorchJD 0.18 by name: what is offered, how it is fed, what is refused. The only file that imports it."""

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchjd import aggregation, scalarization
from torchjd.linalg import QuadprogProjector

from psst.pareto import StepState


class Fed:
    """A weighting of the Gramian: its weights in a step, and the state that must survive a resume.

    `state` names the attributes that change from call to call, with dots where they lie deeper; the numbers
    are those of `TorchJD`, for kinds that learn or count epochs.
    """

    strict = False  # whether errors are the user's to see; else a solver has failed and the step is skipped

    def __init__(self, module: Any, state: Sequence[str], learning_rate: float, epoch_steps: int) -> None:
        self.module, self.learning_rate, self.epoch_steps = module, learning_rate, epoch_steps
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        for name in state:
            path, _, attribute = name.rpartition(".")
            self._owners[name] = module.get_submodule(path), attribute

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        gramian = np.eye(len(state.losses)) if state.gramian is None else state.gramian  # Mean and the like
        weights: Tensor = self.module(torch.from_numpy(gramian))
        return weights

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, all of which ``torch.load(..., weights_only=True)`` reads."""
        found = {name: getattr(*owner) for name, owner in self._owners.items()}
        return {name: deepcopy(v.detach() if isinstance(v, Tensor) else v) for name, v in found.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for name, (owner, attribute) in self._owners.items():
            current = getattr(owner, attribute)
            if isinstance(current, nn.Parameter):
                current.data.copy_(state[name])
            else:
                setattr(owner, attribute, deepcopy(state[name]))


class _FedByDirection(Fed):
    """ConFIG, an aggregator that asks the Jacobian for inner products only, read back as weights.

    In place of the Jacobian it gets ``D U``: D are the gradients' norms, the rows of U their directions up to
    a rotation of parameter space. Of its answer x the weights are the ``a`` with ``(D U)^T a = x`` that is
    shortest in units of the norms. Eigenvalues of the cosines below 1e-12 are rounding and become 0.
    """

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        gramian = torch.from_numpy(state.gramian)
        norms = gramian.diagonal().clamp(min=0.0).sqrt()
        divisors = torch.where(norms > 0.0, norms, 1.0)
        values, vectors = torch.linalg.eigh(gramian / torch.outer(divisors, divisors))
        units = vectors * torch.where(values > 1e-12 * values.max(), values, 0.0).sqrt()
        direction: Tensor = self.module(norms[:, None] * units)
        lengths = torch.linalg.pinv(units.T, rtol=1e-8) @ direction
        return torch.where(norms > 0.0, lengths / norms, 0.0)


class _FedByLosses(Fed):
    """A scalarizer: its weights are the derivatives of its value by the losses.

    A task that is absent counts with its running mean.
    """

    strict = True
    _step: int | None = None

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        means = np.nan_to_num(np.exp(state.log_losses), nan=1.0)
        known = np.where(np.isnan(state.losses), means, state.losses)
        losses = torch.tensor(known, dtype=torch.float64, requires_grad=True)
        before, self._step = self._step, state.step
        if before is not None and before < state.step:
            self._hear(losses.detach(), before, state.step)
        with torch.enable_grad():
            value: Tensor = self.module(losses)
            (weights,) = torch.autograd.grad(value, losses, retain_graph=True)
        if before != state.step:
            self._learn(value)
        return weights

    @cached_property
    def _adam(self) -> torch.optim.Adam | None:
        """Of the module's parameters, if it has any."""
        return None

    def _hear(self, losses: Tensor, before: int, step: int) -> None:
        """Take in the first losses of an optimizer step, and which one came before."""

    def _learn(self, value: Tensor) -> None:
        """Follow the value, once an optimizer step."""

    def state_dict(self) -> dict[str, Any]:
        """With the step, and Adam's moments."""
        moments = None if self._adam is None else deepcopy(self._adam.state_dict()["state"])
        return {**super().state_dict(), "step": self._step, "adam": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the learning rate stays that of the constructor."""
        super().load_state_dict(state)
        self._step = state["step"]
        if self._adam is not None:
            groups = self._adam.state_dict()["param_groups"]
            self._adam.load_state_dict({"state": deepcopy(state["adam"]), "param_groups": groups})


class _Learning(_FedByLosses):
    """UW and IMTLL, whose parameters follow the same value by Adam."""

    @cached_property
    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.module.parameters(), self.learning_rate)

    def _learn(self, value: Tensor) -> None:
        self._adam.zero_grad()
        value.backward(inputs=list(self.module.parameters()))  # type: ignore[no-untyped-call]  # untyped in torch
        self._adam.step()


class _ByEpochs(_FedByLosses):
    """DWA, which is told where an epoch ends."""

    def _hear(self, losses: Tensor, before: int, step: int) -> None:
        if before // self.epoch_steps < step // self.epoch_steps:
            self.module.step()


class _ByProgress(_FedByLosses):
    """FAMO, which takes the progress of a step from the next one's losses, by an Adam of its own."""

    @cached_property
    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam([self.module._w], self.module.lr, weight_decay=self.module.weight_decay)

    def _hear(self, losses: Tensor, before: int, step: int) -> None:
        self.module._optimizer = self._adam
        self.module.update(losses)


@dataclass(frozen=True)
class _Entry:
    """The class of TorchJD behind a name, how it is fed, and its attributes that change from call to call."""

    kind: type[nn.Module]
    feed: type[Fed] = Fed
    state: tuple[str, ...] = ()


ENTRIES: dict[str, _Entry] = {
    "AlignedMTL": _Entry(aggregation.AlignedMTLWeighting),
    "CAGrad": _Entry(aggregation.CAGradWeighting),
    "ConFIG": _Entry(aggregation.ConFIG, _FedByDirection),
    "Constant": _Entry(aggregation.ConstantWeighting),
    "COSMOS": _Entry(scalarization.COSMOS, _FedByLosses),
    "CRMOGM": _Entry(aggregation.CRMOGMWeighting, Fed, ("_lambda",)),
    "DualProj": _Entry(aggregation.DualProjWeighting),
    "DWA": _Entry(scalarization.DWA, _ByEpochs, ("_loss_sum", "_n_batches", "_previous_averages")),
    "FairGrad": _Entry(aggregation.FairGradWeighting),
    "FAMO": _Entry(scalarization.FAMO, _ByProgress, ("_w", "_prev_losses")),
    "GeometricMean": _Entry(scalarization.GeometricMean, _FedByLosses),
    "GradVac": _Entry(aggregation.GradVacWeighting, Fed, ("_phi_t", "_state_key")),
    "IMTLG": _Entry(aggregation.IMTLGWeighting),
    "IMTLL": _Entry(scalarization.IMTLL, _Learning, ("log_scale",)),
    "Krum": _Entry(aggregation.KrumWeighting),
    "Mean": _Entry(aggregation.MeanWeighting),
    "MGDA": _Entry(aggregation.MGDAWeighting),
    "PBI": _Entry(scalarization.PBI, _FedByLosses),
    "PCD": _Entry(aggregation.PCDWeighting, Fed, ("_sq_norm_ema", "_n_steps", "_state_key")),
    "PCGrad": _Entry(aggregation.PCGradWeighting),
    "Random": _Entry(aggregation.RandomWeighting),
    "STCH": _Entry(scalarization.STCH, _FedByLosses),
    "Sum": _Entry(aggregation.SumWeighting),
    "UPGrad": _Entry(aggregation.UPGradWeighting),
    "UW": _Entry(scalarization.UW, _Learning, ("log_var",)),
}
"""The scalarizers Constant, Mean, Random and Sum give the weights of the weightings of these names."""

_CONSTANT = ("Constant", "Mean", "Random", "Sum")

_COORDINATES = "it works on single coordinates of the gradients, which inner products do not tell"
_TWO_BATCHES = "it wants the gradients of two independent batches in one step"
_REFUSED: dict[str, str] = {
    "ExcessMTL": _COORDINATES,
    "GradDrop": _COORDINATES,
    "MoDo": _TWO_BATCHES,
    "NashMTL": "it needs the solver ECOS, which TorchJD does not bring along",
    "SDMGrad": _TWO_BATCHES,
    "TrimmedMean": _COORDINATES,
}


def _find(name: str) -> _Entry:
    """The entry of a name; ValueError where there is none, or it is refused."""
    if name not in ENTRIES:
        why = f"cannot be offered: {_REFUSED[name]}" if name in _REFUSED else "is nothing of TorchJD"
        raise ValueError(f"`name={name}` {why}; use one of {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def make(name: str, options: Mapping[str, Any], n_tasks: int, learning_rate: float, epoch_steps: int) -> Fed:
    """A fresh one, tried once on a Gramian and losses of ones; arguments and errors are `TorchJD`'s."""
    entry = _find(name)
    module = _module(name, entry, options, n_tasks)
    state = [*entry.state]
    if isinstance(inner := getattr(module, "weighting", None), nn.Module):  # of CRMOGM
        kept = next((each.state for each in ENTRIES.values() if each.kind is type(inner)), ())
        state += [f"weighting.{attribute}" for attribute in kept]
    try:
        ones = np.ones(n_tasks)
        tried = entry.feed(deepcopy(module), state, learning_rate, epoch_steps)
        tried.weights(StepState(np.eye(n_tasks), ones, np.zeros(n_tasks), 0))
    except (ValueError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"`options` of {name} do not fit {n_tasks} tasks: {error}; it takes {_taken(entry)}."
        ) from error
    return entry.feed(module, state, learning_rate, epoch_steps)


def check(name: str, options: Mapping[str, Any]) -> bool:
    """As `make`, of what can be said before the number of tasks is known; whether it reads the Gramian."""
    entry, lengths = _find(name), [len(value) for value in options.values() if isinstance(value, list)]
    _module(name, entry, options, max(lengths, default=2))
    return not issubclass(entry.feed, _FedByLosses) and name not in _CONSTANT


def _module(name: str, entry: _Entry, options: Mapping[str, Any], n_tasks: int) -> nn.Module:
    signature = inspect.signature(entry.kind)
    sized = "shape" in signature.parameters  # of the losses: filled in here, not by the user
    try:
        if sized and "shape" in options:
            raise TypeError("`shape` is the number of tasks, which is filled in")
        arguments = {key: _argument(key, value, signature, n_tasks) for key, value in options.items()}
        if sized:
            arguments["shape"] = n_tasks
        signature.bind(**arguments)
        return entry.kind(**arguments).double()
    except (TypeError, ValueError) as error:
        raise ValueError(f"`options` of {name} do not fit: {error}; it takes {_taken(entry)}.") from error


def _argument(key: str, value: Any, signature: inspect.Signature, n_tasks: int) -> Any:
    """A plain value of the YAML as TorchJD wants it: lists as vectors, descriptions as what they describe."""
    wanted = str(signature.parameters[key].annotation) if key in signature.parameters else ""
    if "Tensor" in wanted and isinstance(value, Sequence) and not isinstance(value, str):
        return torch.tensor(value, dtype=torch.float64)
    if "Projector" in wanted and isinstance(value, Mapping):
        return QuadprogProjector(**value)
    if "Weighting" in wanted:
        described: Mapping[str, Any] = {"name": value} if isinstance(value, str) else value
        if not {"name"} <= described.keys() <= {"name", "options"}:
            raise ValueError(f"`{key}` takes `name` and `options`, found {sorted(described)}")
        name = described["name"]
        if _find(name).feed is not Fed:
            raise ValueError(f"`{key}: {name}` is no weighting of this step's Gramian")
        return _module(name, _find(name), described.get("options", {}), n_tasks)
    return value


def _taken(entry: _Entry) -> str:
    parameters = inspect.signature(entry.kind).parameters.values()
    return ", ".join(f"`{each}`" for each in parameters if each.name != "shape") or "none"
