"""What the Gramian of a step is taken over, and how a mixture of gradients comes about."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psst.pareto.graph import Walk, joined, walk
from psst.pareto.injection import TaskGradient, accumulate, combine, shared_positions, weighted_positions
from psst.pareto.task_gradients import (
    Loss,
    divide,
    full_precision,
    gradient,
    kept,
    positions,
    times,
    weighted_gradient,
)


@dataclass(eq=False)
class Gathered:
    """What one batch tells, still on the device.

    Attributes:
        values: The losses, detached scalars by task; absent tasks have none.
        gradients: One a task in true scale, whose inner products are the Gramian; none for a weighted pass.
        mixture: From ``[m]`` weights to the gradient of every parameter; to be called once.
        over: Positions to sum the inner products over, where those are not the shared ones.
        check: Numbers for `Scope.refuse`, so that they share the step's transfer to the host.
    """

    values: dict[str, Tensor]
    gradients: list[TaskGradient]
    mixture: Callable[[Sequence[float]], TaskGradient]
    over: set[int] | None = None
    check: Tensor | None = None


class Scope(ABC):
    """From the losses of a batch to task gradients and their mixture.

    Args:
        tasks: Their names; a batch may lack some.
        names: Of the module's parameters.
        parameters: The same, by which every position refers; those that turn up later are appended.
        shared: Names of the shared parameters, or of modules that hold them; by default the parameters that
            two tasks have reached so far.
        adopt: Name of a leaf that is none of the parameters but trains all the same; None for other leaves.

    Attributes:
        reached: Positions each task has reached so far.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        names: Sequence[str],
        parameters: Sequence[Tensor],
        shared: Sequence[str] | None = None,
        adopt: Callable[[Tensor], str | None] = lambda leaf: None,
    ) -> None:
        self.tasks = list(tasks)
        self.names: list[str] = []
        self.parameters: list[Tensor] = []
        self.reached: list[set[int]] = [set() for _ in self.tasks]
        self._prefixes = shared
        self._named: set[int] = set()
        self._adopt = adopt
        self._where: dict[int, int] = {}
        for name, parameter in zip(names, parameters, strict=True):
            self._append(name, parameter)

    @property
    def shared(self) -> set[int]:
        """Positions of the shared parameters as known by now."""
        return shared_positions(self.reached) if self._prefixes is None else self._named

    def weighted(self, losses: Mapping[str, Tensor], factor: Tensor | None = None) -> Gathered:
        """No gradient yet: the mixture is one pass of the losses, once their weights are known.

        Args:
            losses: Scalars by task name.
            factor: Of a gradient scaler, by which the losses are multiplied and the gradients divided.

        Raises:
            ValueError: A graph cannot be read.
        """
        tensors = list(losses.values())
        found, _ = self._walk_all(losses)

        def mixture(weights: Sequence[float]) -> TaskGradient:
            chosen = [float(weights[self.tasks.index(name)]) for name in losses]
            weighted = weighted_positions(self.reached, weights, self.shared)
            with full_precision(tensors[0].device):
                scaled = [times(loss, factor) for loss in tensors]
                mixed = weighted_gradient(scaled, found, chosen, weighted, self.parameters)
            divide([mixed], factor)
            return mixed

        return Gathered({name: loss.detach() for name, loss in losses.items()}, [], mixture)

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

    def _append(self, name: str, parameter: Tensor) -> None:
        position = len(self.parameters)
        self.names.append(name)
        self.parameters.append(parameter)
        self._where[id(parameter)] = position
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in self._prefixes or ()):
            self._named.add(position)

    def _meet(self, found: Walk) -> list[int]:
        """Positions a walk has come to; leaves that nobody knew but that train are parameters from now on."""
        for key, leaf in found.leaves.items():
            if key not in self._where:
                name = self._adopt(leaf)
                if name is not None:
                    self._append(name, leaf)
        return positions(found, self._where)

    def _reach(self, task: str, found: Iterable[int]) -> None:
        self.reached[self.tasks.index(task)].update(found)

    def _in_order(self, gradients: Mapping[str, TaskGradient]) -> list[TaskGradient]:
        """One a task, empty where it is absent."""
        return [gradients.get(task, {}) for task in self.tasks]

    def _walk_all(self, losses: Mapping[str, Tensor]) -> tuple[list[list[int]], list[bool]]:
        """Positions each loss reaches now, noted down, and whether its graph is needed by a later one."""
        walks = [walk(loss) for loss in losses.values()]
        if self._prefixes is None and joined(walks):
            raise ValueError(
                "One compiled function holds the shared part and what comes after it, so that every loss "
                "seems to reach all of it; compile the backbone alone, or name the `shared` parameters, e.g. "
                '`shared=["backbone"]`.'
            )
        found = [self._meet(each) for each in walks]
        for task, each in zip(losses, found, strict=True):
            self._reach(task, each)
        return found, kept(walks)


class Parameters(Scope):
    """The exact Gramian, over all shared parameters; losses may be functions."""

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients over everything; graphs are freed before this returns.

        Functions are called, differentiated and freed one by one, after the losses given as tensors: never
        more than one function's graph is alive.
        """
        ready = {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}
        values = {name: loss.detach() for name, loss in ready.items()}
        found, needed_later = self._walk_all(ready)
        gradients: dict[str, TaskGradient] = {}
        for (name, loss), indices, keep in zip(ready.items(), found, needed_later, strict=True):
            with full_precision(loss.device):
                gradients[name] = gradient(times(loss, factor), indices, self.parameters, keep)
        for name, function in losses.items():
            if not isinstance(function, Tensor):
                values[name], gradients[name] = self._called(name, function, factor)
                self._reach(name, gradients[name])
        in_order = self._in_order(gradients)
        divide(in_order, factor)
        return self.gathered({name: values[name] for name in losses}, in_order)

    def _called(
        self, name: str, function: Callable[[], Tensor], factor: Tensor | None
    ) -> tuple[Tensor, TaskGradient]:
        loss = function()
        with full_precision(loss.device):
            try:
                found = gradient(times(loss, factor), self._meet(walk(loss)), self.parameters, keep=False)
            except RuntimeError as error:
                if "second time" not in str(error):
                    raise
                raise ValueError(
                    f"`losses['{name}']` is a function whose graph shares a part with a loss that has been "
                    "differentiated and freed before it; compute that part inside each function, or give the "
                    "losses as tensors."
                ) from error
        return loss.detach(), found

    def gathered(self, values: dict[str, Tensor], gradients: list[TaskGradient], times: int = 1) -> Gathered:
        """Of gradients at hand; the mixture is multiplied by `times`."""

        def mixture(weights: Sequence[float]) -> TaskGradient:
            mixed = combine(gradients, self.reached, weights, self.shared)
            if times != 1 and mixed:
                torch._foreach_mul_(list(mixed.values()), float(times))
            return mixed

        return Gathered(values, gradients, mixture)


class Window:
    """Sums over the micro-batches of one accumulation window: m copies of the gradients.

    The trainer divides every micro-batch by the length n of a full window, so the window's gradient, which
    goes in with the last one, is the sum over the micro-batches: what they would give together with any
    weights that are the same for all of them. The Gramian is that of the mean.
    """

    def __init__(self, scope: Parameters) -> None:
        self._scope = scope
        self._n = 0
        self._values: dict[str, list[Tensor]] = {}
        self._gradients: list[TaskGradient] = []

    def __len__(self) -> int:
        return self._n

    def add(self, gathered: Gathered) -> None:
        """Take in one micro-batch."""
        if not self._n:
            self._gradients = [{} for _ in gathered.gradients]
        for name, value in gathered.values.items():
            self._values.setdefault(name, []).append(value)
        for total, part in zip(self._gradients, gathered.gradients, strict=True):
            accumulate(total, part, 1.0)
        self._n += 1

    def close(self) -> Gathered:
        """Means of losses and gradients, and their mixture times the number of micro-batches; starts anew."""
        n, values, gradients = self._n, self._values, self._gradients
        self._n, self._values, self._gradients = 0, {}, []
        for entries in gradients:
            if entries:
                torch._foreach_div_(list(entries.values()), float(n))
        means = {name: torch.stack(found).mean(dim=0) for name, found in values.items()}
        return self._scope.gathered(means, gradients, n)
