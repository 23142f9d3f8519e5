"""What the Gramian of a step is taken over, and how a mixture of gradients comes about."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psst.pareto.graph import walk
from psst.pareto.injection import TaskGradient, accumulate, combine, shared_positions
from psst.pareto.task_gradients import Loss, divide, interleaved_gradients, positions


@dataclass(eq=False)
class Gathered:
    """What one batch tells, still on the device.

    Attributes:
        values: The losses, detached scalars.
        gradients: One a task in true scale, whose inner products are the Gramian.
        shared: Positions to sum the inner products over.
        mixture: From ``[m]`` weights to the gradient of every parameter; to be called once.
        check: Numbers for `Scope.refuse`, so that they share the step's transfer to the host.
    """

    values: list[Tensor]
    gradients: list[TaskGradient]
    shared: set[int]
    mixture: Callable[[Sequence[float]], TaskGradient]
    check: Tensor | None = None


class Scope(ABC):
    """From the losses of a batch to task gradients and their mixture.

    Args:
        names: Of the module's parameters.
        parameters: The same, by which every position refers.
        shared: Positions of the shared parameters where the user names them; by default those that two tasks
            have reached so far.

    Attributes:
        reached: Positions each task has reached so far; empty before the first batch.
    """

    #: Whether gradients of different batches can be multiplied.
    denoises = True

    def __init__(
        self, names: Sequence[str], parameters: Sequence[Tensor], shared: Collection[int] | None = None
    ) -> None:
        self.names = list(names)
        self.parameters = list(parameters)
        self.reached: list[set[int]] = []
        self._named = None if shared is None else set(shared)
        self._where = {id(parameter): index for index, parameter in enumerate(self.parameters)}

    @property
    def shared(self) -> set[int]:
        """Positions of the shared parameters as known by now."""
        return shared_positions(self.reached) if self._named is None else self._named

    @abstractmethod
    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Take the gradients of one batch.

        Args:
            losses: Scalars by task name, or functions that compute them where the scope allows it.
            factor: Of a gradient scaler, by which the losses are multiplied and the gradients divided.
            features: What all losses read, for `Features`.

        Raises:
            TypeError: Of the losses and features, something is missing or of a kind the scope cannot use.
            ValueError: The graphs do not fit the scope.
        """

    def refuse(self, check: Sequence[float], tasks: Sequence[str]) -> None:  # noqa: B027 - most have no check
        """Raise ValueError where the numbers of `Gathered.check`, by now on the host, speak against it."""

    def _reach(self, found: Sequence[Collection[int]]) -> None:
        self.reached = self.reached or [set() for _ in found]
        for known, new in zip(self.reached, found, strict=True):
            known.update(new)

    def _walk_all(self, losses: Sequence[Tensor]) -> list[list[int]]:
        """Positions each loss reaches now, noted down."""
        found = [positions(walk(loss), self._where) for loss in losses]
        self._reach(found)
        return found


class Parameters(Scope):
    """The exact Gramian, over all shared parameters; losses may be functions."""

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients over everything; graphs are freed before this returns."""
        values, gradients = interleaved_gradients(losses, self.parameters, factor)
        divide(gradients, factor)
        self._reach(gradients)
        return self.gathered(values, gradients)

    def gathered(self, values: list[Tensor], gradients: list[TaskGradient], times: int = 1) -> Gathered:
        """Of gradients at hand; the mixture is multiplied by `times`."""
        shared = self.shared

        def mixture(weights: Sequence[float]) -> TaskGradient:
            mixed = combine(gradients, self.reached, weights, shared)
            if times != 1 and mixed:
                torch._foreach_mul_(list(mixed.values()), float(times))
            return mixed

        return Gathered(values, gradients, shared, mixture)


class Window:
    """Sums over the micro-batches of one accumulation window: m copies of the gradients.

    The trainer divides every micro-batch by the length n of a full window, so the window's gradient, which
    goes in with the last one, is the sum over the micro-batches: what they would give together with any
    weights that are the same for all of them. The Gramian is that of the mean.
    """

    def __init__(self, scope: Parameters) -> None:
        self._scope = scope
        self._n = 0
        self._values: list[Tensor] = []
        self._gradients: list[TaskGradient] = []

    def __len__(self) -> int:
        return self._n

    def add(self, gathered: Gathered) -> None:
        """Take in one micro-batch."""
        if not self._n:
            self._values = [torch.zeros_like(value) for value in gathered.values]
            self._gradients = [{} for _ in gathered.gradients]
        torch._foreach_add_(self._values, gathered.values)
        for total, part in zip(self._gradients, gathered.gradients, strict=True):
            accumulate(total, part, 1.0)
        self._n += 1

    def close(self) -> Gathered:
        """Means of losses and gradients, and their mixture times the number of micro-batches; starts anew."""
        n, values, gradients = self._n, self._values, self._gradients
        self._n, self._values, self._gradients = 0, [], []
        for entries in [values, *(list(gradient.values()) for gradient in gradients)]:
            if entries:
                torch._foreach_div_(entries, float(n))
        return self._scope.gathered(values, gradients, n)
