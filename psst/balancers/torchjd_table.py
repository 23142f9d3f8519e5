"""TorchJD 0.18 by name: what is offered, what is refused and why. The only file that imports it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torchjd import aggregation, scalarization
from torchjd.linalg import QuadprogProjector

from psst.balancers.feeding import (
    Fed,
    FedByDirection,
    FedByEpochs,
    FedByLosses,
    FedByLossesAndTrained,
    FedByProgress,
    FedByRoot,
    FedByTwoBatches,
    FedSmoothed,
)
from psst.pareto import StepState


@dataclass(frozen=True)
class Settings:
    """What the user says beside the options that are TorchJD's own.

    Attributes:
        learning_rate: Of the parameters of UW and IMTLL.
        epoch_steps: Optimizer steps that DWA takes for an epoch.
    """

    learning_rate: float
    epoch_steps: int


_Feed = Callable[[nn.Module, tuple[str, ...], Settings], Fed]


@dataclass(frozen=True)
class Entry:
    """One name.

    Attributes:
        kind: The class of TorchJD.
        feed: Makes what is asked in a step of a module, the names of its state and the settings.
        state: Attributes of the module that change from call to call.
        size: The argument that is the number of tasks: filled in here, not by the user.
    """

    kind: type[nn.Module]
    feed: _Feed
    state: tuple[str, ...] = ()
    size: Literal["shape", "n_tasks"] | None = None


def _plainly(kind: Callable[..., Fed]) -> _Feed:
    """A feed that needs no settings."""
    return lambda module, state, settings: kind(module, state)


def _smoothed(module: nn.Module, state: tuple[str, ...], settings: Settings) -> Fed:
    inner = cast(nn.Module, module.weighting)
    entry = next(entry for entry in _WEIGHTINGS.values() if entry.kind is type(inner))
    return FedSmoothed(module, state, Fed(inner, entry.state))


def _trained(module: nn.Module, state: tuple[str, ...], settings: Settings) -> Fed:
    return FedByLossesAndTrained(module, state, settings.learning_rate)


def _epochs(module: nn.Module, state: tuple[str, ...], settings: Settings) -> Fed:
    return FedByEpochs(module, state, settings.epoch_steps)


_gramian, _direction, _root = _plainly(Fed), _plainly(FedByDirection), _plainly(FedByRoot)
_two_batches, _losses, _progress = _plainly(FedByTwoBatches), _plainly(FedByLosses), _plainly(FedByProgress)

_WEIGHTINGS: dict[str, Entry] = {
    "AlignedMTL": Entry(aggregation.AlignedMTLWeighting, _gramian),
    "CAGrad": Entry(aggregation.CAGradWeighting, _gramian),
    "ConFIG": Entry(aggregation.ConFIG, _direction),
    "Constant": Entry(aggregation.ConstantWeighting, _gramian),
    "CRMOGM": Entry(aggregation.CRMOGMWeighting, _smoothed, ("_lambda",)),
    "DualProj": Entry(aggregation.DualProjWeighting, _gramian),
    "FairGrad": Entry(aggregation.FairGradWeighting, _gramian),
    "GradVac": Entry(aggregation.GradVacWeighting, _gramian, ("_phi_t", "_state_key")),
    "IMTLG": Entry(aggregation.IMTLGWeighting, _gramian),
    "Krum": Entry(aggregation.KrumWeighting, _gramian),
    "Mean": Entry(aggregation.MeanWeighting, _gramian),
    "MGDA": Entry(aggregation.MGDAWeighting, _gramian),
    "MoDo": Entry(aggregation.MoDoWeighting, _two_batches, ("_lambda", "_state_key")),
    "NashMTL": Entry(aggregation.NashMTL, _root, size="n_tasks"),
    "PCD": Entry(aggregation.PCDWeighting, _gramian, ("_sq_norm_ema", "_n_steps", "_state_key")),
    "PCGrad": Entry(aggregation.PCGradWeighting, _gramian),
    "Random": Entry(aggregation.RandomWeighting, _gramian),
    "SDMGrad": Entry(aggregation.SDMGradWeighting, _two_batches, ("_w", "_state_key")),
    "Sum": Entry(aggregation.SumWeighting, _gramian),
    "UPGrad": Entry(aggregation.UPGradWeighting, _gramian),
}
"""ConFIG and NashMTL have no weighting of a Gramian there, but ask the Jacobian for inner products only."""

SCALARIZERS: dict[str, Entry] = {
    "COSMOS": Entry(scalarization.COSMOS, _losses),
    "DWA": Entry(scalarization.DWA, _epochs, ("_loss_sum", "_n_batches", "_previous_averages")),
    "FAMO": Entry(scalarization.FAMO, _progress, ("_w", "_prev_losses"), size="shape"),
    "GeometricMean": Entry(scalarization.GeometricMean, _losses),
    "IMTLL": Entry(scalarization.IMTLL, _trained, ("log_scale",), size="shape"),
    "PBI": Entry(scalarization.PBI, _losses),
    "STCH": Entry(scalarization.STCH, _losses),
    "UW": Entry(scalarization.UW, _trained, ("log_var",), size="shape"),
}
"""Constant, Mean, Random and Sum give the weights of the weightings of these names."""

_CONSTANT = ("Constant", "Mean", "Random", "Sum")

REFUSED: dict[str, str] = {
    "ExcessMTL": "it sums the squares of each coordinate of the gradients, which inner products do not tell",
    "GradDrop": "it keeps or drops single coordinates of the gradients, so no weights give its direction",
    "TrimmedMean": "it trims each coordinate of the gradients by itself, so no weights give its direction",
}

ENTRIES: dict[str, Entry] = dict(
    sorted({**_WEIGHTINGS, **SCALARIZERS}.items(), key=lambda item: item[0].lower())
)


def find(name: str) -> Entry:
    """The entry of a name.

    Raises:
        ValueError: There is none, or it is refused.
    """
    if name in REFUSED:
        raise ValueError(
            f"`name={name}` cannot be offered: {REFUSED[name]}; use one of {', '.join(ENTRIES)}."
        )
    if name not in ENTRIES:
        raise ValueError(f"`name={name}` is nothing of TorchJD; use one of {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def needs(name: str) -> tuple[bool, bool]:
    """Whether it reads the denoised Gramian, and whether this step's."""
    entry = find(name)
    return entry.feed is _two_batches, name not in SCALARIZERS and name not in _CONSTANT


def make(name: str, options: Mapping[str, Any], settings: Settings, n_tasks: int) -> Fed:
    """A fresh one for so many tasks, tried once on a Gramian and losses of ones.

    Raises:
        ImportError: It needs a package that is not installed; the message names it.
        ValueError: No such name, or the options do not fit it or the number of tasks.
    """
    entry = find(name)
    module = _module(name, entry, options, n_tasks)
    try:
        _probe(entry.feed(deepcopy(module), entry.state, settings), n_tasks)
    except (ValueError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"`options` of {name} do not fit {n_tasks} tasks: {error}; it takes {_taken(entry)}."
        ) from error
    return entry.feed(module, entry.state, settings)


def check(name: str, options: Mapping[str, Any]) -> None:
    """What can be said before the number of tasks is known: the name, the options' names and values.

    Raises:
        ImportError: It needs a package that is not installed; the message names it.
        ValueError: No such name, or the options do not fit it.
    """
    lengths = [len(value) for value in options.values() if isinstance(value, list)]
    _module(name, find(name), options, max(lengths, default=2))


def _module(name: str, entry: Entry, options: Mapping[str, Any], n_tasks: int) -> nn.Module:
    signature = inspect.signature(entry.kind)
    try:
        if entry.size in options:
            raise TypeError(f"`{entry.size}` is the number of tasks, which is filled in")
        arguments = {key: _argument(key, value, signature, n_tasks) for key, value in options.items()}
        if entry.size is not None:
            arguments[entry.size] = n_tasks
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
        description: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
        name, options = description.pop("name", None), description.pop("options", {})
        if description:
            raise ValueError(f"`{key}` takes `name` and `options`, found {sorted(description)}")
        inner = find(str(name))
        if inner.feed is not _gramian:
            raise ValueError(f"`{key}: {name}` is no weighting of this step's Gramian")
        return _module(str(name), inner, options, n_tasks)
    return value


def _taken(entry: Entry) -> str:
    parameters = inspect.signature(entry.kind).parameters.values()
    return ", ".join(f"`{parameter}`" for parameter in parameters if parameter.name != entry.size) or "none"


def _probe(fed: Fed, n_tasks: int) -> None:
    ones = np.ones(n_tasks)
    fed.weights(StepState(np.eye(n_tasks), ones, np.zeros(n_tasks), 0, np.eye(n_tasks)))
