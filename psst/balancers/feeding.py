"""How a module of TorchJD is fed with what a step knows, and how its state is kept. Needs no TorchJD."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from psst.pareto import StepState
from psst.pareto.least_squares import Array


class Fed:
    """A weighting of the Gramian: its weights in a step, and the state that must survive a resume.

    Args:
        module: The weighting; takes ``[m, m]`` and gives ``[m]``.
        state: Names of the attributes that change from call to call.

    Attributes:
        strict: Whether its errors are the user's to see; else a solver has failed and the step is skipped.
    """

    strict = False

    def __init__(self, module: nn.Module, state: Sequence[str] = ()) -> None:
        self.module = module
        self._names = tuple(state)

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        gramian = np.eye(len(state.losses)) if state.gramian is None else state.gramian  # Mean and the like
        weights: Tensor = self.module(torch.from_numpy(gramian))
        return weights

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, all of which ``torch.load(..., weights_only=True)`` reads."""
        return {name: deepcopy(_detached(getattr(self.module, name))) for name in self._names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for name in self._names:
            current = getattr(self.module, name)
            if isinstance(current, nn.Parameter):
                current.data.copy_(state[name])
            else:
                setattr(self.module, name, deepcopy(state[name]))


def _known(state: StepState) -> Array:
    """``[m]`` losses, those of absent tasks by their running means."""
    means = np.nan_to_num(np.exp(state.log_losses), nan=1.0)
    losses: Array = np.where(np.isnan(state.losses), means, state.losses)
    return losses


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


class FedSmoothed(Fed):
    """CR-MOGM: a running mean of another weighting's weights.

    Args:
        module: The running mean.
        state: Its own attributes.
        inner: The other weighting, whose state is kept beside.
    """

    def __init__(self, module: nn.Module, state: Sequence[str], inner: Fed) -> None:
        super().__init__(module, state)
        self._inner = inner

    def state_dict(self) -> dict[str, Any]:
        """The mean, and the state of the other weighting."""
        return {**super().state_dict(), "inner": self._inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._inner.load_state_dict(state["inner"])


def _unit_root(state: StepState) -> tuple[Tensor, Tensor]:
    """``[m]`` norms D and ``[m, m]`` U with ``D U U^T D`` the Gramian.

    The rows of U are the gradients' directions up to a rotation of parameter space, ``D U`` is a Jacobian up
    to it. Eigenvalues of the cosines below 1e-12 are rounding and become 0.
    """
    assert state.gramian is not None
    gramian = torch.from_numpy(state.gramian)
    norms = gramian.diagonal().clamp(min=0.0).sqrt()
    divisors = torch.where(norms > 0.0, norms, 1.0)
    values, vectors = torch.linalg.eigh(gramian / torch.outer(divisors, divisors))
    return norms, vectors * torch.where(values > 1e-12 * values.max(), values, 0.0).sqrt()


class FedByDirection(Fed):
    """An aggregator that asks the Jacobian for inner products only, read back as weights.

    It gets ``D U`` in place of the Jacobian and answers a direction x in the span of its rows. The weights
    are the ``a`` with ``(D U)^T a = x`` that is shortest in units of the gradients' norms.
    """

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        norms, units = _unit_root(state)
        direction: Tensor = self.module(norms[:, None] * units)
        lengths = torch.linalg.pinv(units.T, rtol=1e-8) @ direction
        return torch.where(norms > 0.0, lengths / norms, 0.0)


class FedByRoot(Fed):
    """Nash-MTL: its weighting reads a Jacobian through ``J J^T`` alone; ``D U`` serves as one."""

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        norms, units = _unit_root(state)
        weights: Tensor = self._weighting(norms[:, None] * units)
        return weights

    @property
    def _weighting(self) -> Any:
        return self.module.weighting

    def state_dict(self) -> dict[str, Any]:
        """The last bargain and the number of calls."""
        return {"alpha": [float(value) for value in self._weighting.prvs_alpha], "step": self._weighting.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the cvxpy problem is made anew."""
        self._weighting.prvs_alpha = torch.tensor(state["alpha"], dtype=torch.float64).numpy()
        if state["step"] > 0:
            self._weighting._init_optim_problem()
        self._weighting.step = state["step"]


class FedByTwoBatches(Fed):
    """Weightings of ``J_1 J_2^T`` of two independent batches: they get the denoised Gramian.

    Like it, their matrix is free of the square of one batch's noise. Equal weights, which they start from
    themselves, until there is one.
    """

    strict = True

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        if state.denoised is None:
            return torch.full((len(state.losses),), 1.0 / len(state.losses), dtype=torch.float64)
        weights: Tensor = self.module(torch.from_numpy(state.denoised))
        return weights


class FedByLosses(Fed):
    """A scalarizer: its weights are the derivatives of its value by the losses.

    A task that is absent counts with its running mean; what is learned is learned once a step.
    """

    strict = True
    _learned: int | None = None

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        losses = torch.tensor(_known(state), dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            value: Tensor = self.module(losses)
            (weights,) = torch.autograd.grad(value, losses, retain_graph=True)
            if state.step != self._learned:
                self._learn(value)
                self._learned = state.step
        return weights

    def _learn(self, value: Tensor) -> None:
        """Whatever follows the weights of a step."""


class FedByLossesAndTrained(FedByLosses):
    """A scalarizer with parameters, which follow the same value by Adam.

    Args:
        module: The scalarizer.
        state: Names of its parameters.
        learning_rate: Of Adam.
    """

    def __init__(self, module: nn.Module, state: Sequence[str], learning_rate: float) -> None:
        super().__init__(module, state)
        self._optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)

    def _learn(self, value: Tensor) -> None:
        self._optimizer.zero_grad()
        value.backward(inputs=list(self.module.parameters()))  # type: ignore[no-untyped-call]  # untyped in torch
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Parameters and Adam's moments."""
        return {**super().state_dict(), "optimizer": deepcopy(self._optimizer.state_dict()["state"])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the learning rate stays that of the constructor."""
        super().load_state_dict(state)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": deepcopy(state["optimizer"]), "param_groups": groups})


class FedByEpochs(FedByLosses):
    """Dynamic weight averaging: an epoch ends after a number of optimizer steps.

    Args:
        module: Its ``step`` closes an epoch.
        state: Names of the attributes that change.
        epoch_steps: Optimizer steps of one epoch.
    """

    def __init__(self, module: nn.Module, state: Sequence[str], epoch_steps: int) -> None:
        super().__init__(module, state)
        self._epoch_steps = epoch_steps
        self._epoch: int | None = None

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        epoch = state.step // self._epoch_steps
        if self._epoch is not None and epoch > self._epoch:
            self.module.step()  # type: ignore[operator]  # TorchJD is untyped
        self._epoch = epoch
        return super().weights(state)

    def state_dict(self) -> dict[str, Any]:
        """The averages of two epochs and the sums of the present one."""
        return {**super().state_dict(), "epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._epoch = state["epoch"]


class FedByProgress(FedByLosses):
    """FAMO: its ``update`` wants the losses after the optimizer step and gets those of the next batch.

    The original takes the same batch a second time, one more forward. The next batch's losses differ from
    those by the noise of a batch, which its Adam averages.
    """

    def __init__(self, module: nn.Module, state: Sequence[str]) -> None:
        super().__init__(module, state)
        self._step: int | None = None

    def weights(self, state: StepState) -> Tensor:
        """``[m]`` float64, as they come."""
        if self._step is not None and state.step > self._step:
            self.module.update(torch.from_numpy(_known(state)))  # type: ignore[operator]  # as above
        self._step = state.step
        return super().weights(state)

    def state_dict(self) -> dict[str, Any]:
        """Logits, the last losses and Adam's moments."""
        optimizer: Any = self.module._optimizer
        moments = None if optimizer is None else deepcopy(optimizer.state_dict()["state"])
        return {**super().state_dict(), "step": self._step, "optimizer": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._step = state["step"]
        if state["optimizer"] is None:
            return
        module: Any = self.module
        adam = torch.optim.Adam([module._w], lr=module.lr, weight_decay=module.weight_decay)
        adam.load_state_dict(
            {"state": deepcopy(state["optimizer"]), "param_groups": adam.state_dict()["param_groups"]}
        )
        module._optimizer = adam
