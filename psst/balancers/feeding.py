"""How a module of TorchJD is fed with what a step knows, and how its state is kept. Needs no TorchJD."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from psst.pareto import StepState


class Fed:
    """A weighting of the Gramian: its weights in a step, and the state that must survive a resume.

    Args:
        module: The weighting; takes ``[m, m]`` and gives ``[m]``.
        state: Names of the attributes that change from call to call, with dots where they lie deeper.

    Attributes:
        strict: Whether its errors are the user's to see; else a solver has failed and the step is skipped.
    """

    strict = False

    def __init__(self, module: nn.Module, state: Sequence[str] = ()) -> None:
        self.module = module
        self._owners = {name: _owner(module, name) for name in state}

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


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute


class FedByDirection(Fed):
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


class FedByLosses(Fed):
    """A scalarizer: its weights are the derivatives of its value by the losses.

    A task that is absent counts with its running mean. Once an optimizer step, parameters follow the same
    value by Adam; and once a period, the module hears of the losses in whichever way it wants to.

    Args:
        module: The scalarizer.
        state: As of `Fed`.
        learning_rate: Of Adam on the module's parameters; None where it does not train them by its value.
        hear: Called with the module and the losses of the first batch of each period but the first.
        period: Length of one, in optimizer steps.
    """

    strict = True

    def __init__(
        self,
        module: nn.Module,
        state: Sequence[str] = (),
        learning_rate: float | None = None,
        hear: Callable[[Any, Tensor], None] = lambda module, losses: None,
        period: int = 1,
    ) -> None:
        super().__init__(module, state)
        self._hear, self._period = hear, period
        self._clock: tuple[int, int] | None = None
        self._adam = None if learning_rate is None else torch.optim.Adam(module.parameters(), learning_rate)

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        means = np.nan_to_num(np.exp(state.log_losses), nan=1.0)
        known = np.where(np.isnan(state.losses), means, state.losses)
        losses = torch.tensor(known, dtype=torch.float64, requires_grad=True)
        before, self._clock = self._clock, (state.step, state.step // self._period)
        if before is not None and self._clock[1] > before[1]:
            self._hear(self.module, losses.detach())
        with torch.enable_grad():
            value: Tensor = self.module(losses)
            (weights,) = torch.autograd.grad(value, losses, retain_graph=True)
        if self._adam is not None and self._clock != before:
            self._adam.zero_grad()
            value.backward(inputs=list(self.module.parameters()))  # type: ignore[no-untyped-call]  # untyped in torch
            self._adam.step()
        return weights

    def state_dict(self) -> dict[str, Any]:
        """With the clock, and Adam's moments: ours, or FAMO's own."""
        adam = self._adam or getattr(self.module, "_optimizer", None)
        moments = None if adam is None else deepcopy(adam.state_dict()["state"])
        return {**super().state_dict(), "clock": self._clock, "adam": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the learning rate stays that of the constructor."""
        super().load_state_dict(state)
        self._clock = None if state["clock"] is None else tuple(state["clock"])
        if state["adam"] is None:
            return
        adam, module = self._adam, self.module
        if adam is None:  # FAMO makes its own with its first update
            adam = torch.optim.Adam([module._w], module.lr, weight_decay=module.weight_decay)  # type: ignore[arg-type]  # TorchJD is untyped
            module._optimizer = adam  # type: ignore[assignment]  # as above
        groups = adam.state_dict()["param_groups"]
        adam.load_state_dict({"state": deepcopy(state["adam"]), "param_groups": groups})
