"""TorchJD 0.18 by name: what is offered, what is refused and why. The only file that imports it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torchjd import aggregation, scalarization
from torchjd.linalg import QuadprogProjector

from psst.balancers.feeding import Fed, FedByDirection, FedByLosses
from psst.pareto import StepState


@dataclass(frozen=True)
class _Entry:
    """One name.

    Attributes:
        kind: The class of TorchJD.
        state: Attributes of the module that change from call to call.
        feed: Makes what is asked in a step of a module and the names of its state.
        learns: Whether its parameters follow its value.
        by_epoch: Whether it hears of the losses once an epoch.
    """

    kind: type[nn.Module]
    state: tuple[str, ...] = ()
    feed: Callable[..., Fed] = Fed
    learns: bool = False
    by_epoch: bool = False

    @property
    def sized(self) -> bool:
        """Whether it wants the shape of the losses: filled in here, not by the user."""
        return "shape" in inspect.signature(self.kind).parameters


_WEIGHTINGS: dict[str, _Entry] = {
    "AlignedMTL": _Entry(aggregation.AlignedMTLWeighting),
    "CAGrad": _Entry(aggregation.CAGradWeighting),
    "ConFIG": _Entry(aggregation.ConFIG, feed=FedByDirection),
    "Constant": _Entry(aggregation.ConstantWeighting),
    "CRMOGM": _Entry(aggregation.CRMOGMWeighting, ("_lambda",)),
    "DualProj": _Entry(aggregation.DualProjWeighting),
    "FairGrad": _Entry(aggregation.FairGradWeighting),
    "GradVac": _Entry(aggregation.GradVacWeighting, ("_phi_t", "_state_key")),
    "IMTLG": _Entry(aggregation.IMTLGWeighting),
    "Krum": _Entry(aggregation.KrumWeighting),
    "Mean": _Entry(aggregation.MeanWeighting),
    "MGDA": _Entry(aggregation.MGDAWeighting),
    "PCD": _Entry(aggregation.PCDWeighting, ("_sq_norm_ema", "_n_steps", "_state_key")),
    "PCGrad": _Entry(aggregation.PCGradWeighting),
    "Random": _Entry(aggregation.RandomWeighting),
    "Sum": _Entry(aggregation.SumWeighting),
    "UPGrad": _Entry(aggregation.UPGradWeighting),
}
"""ConFIG has no weighting of a Gramian there, but asks the Jacobian for inner products only."""

_by_epochs = partial(FedByLosses, hear=lambda module, losses: module.step())
_by_progress = partial(FedByLosses, hear=lambda module, losses: module.update(losses))

_SCALARIZERS: dict[str, _Entry] = {
    "COSMOS": _Entry(scalarization.COSMOS, feed=FedByLosses),
    "DWA": _Entry(
        scalarization.DWA, ("_loss_sum", "_n_batches", "_previous_averages"), _by_epochs, by_epoch=True
    ),
    "FAMO": _Entry(scalarization.FAMO, ("_w", "_prev_losses"), _by_progress),
    "GeometricMean": _Entry(scalarization.GeometricMean, feed=FedByLosses),
    "IMTLL": _Entry(scalarization.IMTLL, ("log_scale",), FedByLosses, learns=True),
    "PBI": _Entry(scalarization.PBI, feed=FedByLosses),
    "STCH": _Entry(scalarization.STCH, feed=FedByLosses),
    "UW": _Entry(scalarization.UW, ("log_var",), FedByLosses, learns=True),
}
"""Constant, Mean, Random and Sum give the weights of the weightings of these names."""

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

ENTRIES: dict[str, _Entry] = dict(
    sorted({**_WEIGHTINGS, **_SCALARIZERS}.items(), key=lambda item: item[0].lower())
)


def _find(name: str) -> _Entry:
    """The entry of a name; ValueError where there is none, or it is refused."""
    if name in _REFUSED:
        raise ValueError(
            f"`name={name}` cannot be offered: {_REFUSED[name]}; use one of {', '.join(ENTRIES)}."
        )
    if name not in ENTRIES:
        raise ValueError(f"`name={name}` is nothing of TorchJD; use one of {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def make(name: str, options: Mapping[str, Any], n_tasks: int, learning_rate: float, epoch_steps: int) -> Fed:
    """A fresh one, tried once on a Gramian and losses of ones; the arguments are `TorchJD`'s.

    Raises:
        ImportError: It needs a package that is not installed; the message names it.
        ValueError: No such name, or the options do not fit it or the number of tasks.
    """
    entry = _find(name)
    module = _module(name, entry, options, n_tasks)
    state = [*entry.state]
    if isinstance(inner := getattr(module, "weighting", None), nn.Module):  # of CRMOGM
        kept = next((each.state for each in _WEIGHTINGS.values() if each.kind is type(inner)), ())
        state += [f"weighting.{attribute}" for attribute in kept]
    feed = partial(entry.feed, learning_rate=learning_rate) if entry.learns else entry.feed
    feed = partial(feed, period=epoch_steps) if entry.by_epoch else feed
    try:
        ones = np.ones(n_tasks)
        feed(deepcopy(module), state).weights(StepState(np.eye(n_tasks), ones, np.zeros(n_tasks), 0))
    except (ValueError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"`options` of {name} do not fit {n_tasks} tasks: {error}; it takes {_taken(entry)}."
        ) from error
    return feed(module, state)


def check(name: str, options: Mapping[str, Any]) -> bool:
    """As `make`, of what can be said before the number of tasks is known; whether it reads the Gramian."""
    lengths = [len(value) for value in options.values() if isinstance(value, list)]
    _module(name, _find(name), options, max(lengths, default=2))
    return name not in _SCALARIZERS and name not in _CONSTANT


def _module(name: str, entry: _Entry, options: Mapping[str, Any], n_tasks: int) -> nn.Module:
    signature = inspect.signature(entry.kind)
    try:
        if entry.sized and "shape" in options:
            raise TypeError("`shape` is the number of tasks, which is filled in")
        arguments = {key: _argument(key, value, signature, n_tasks) for key, value in options.items()}
        if entry.sized:
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
