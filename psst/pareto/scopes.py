"""What the Gramian of a step is taken over, and how a mixture of gradients comes about."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psst.pareto.graph import Walk, joined, walk
from psst.pareto.injection import TaskGradient, accumulate, combine, shared_positions, weighted_positions
from psst.pareto.products import gramian
from psst.pareto.task_gradients import Loss, gradient, kept, weighted_gradient


@dataclass(eq=False)
class Gathered:
    """What one batch tells, still on the device; or the micro-batches of a window together."""

    values: dict[str, Tensor]  # losses, detached scalars by task; absent tasks have none
    gradients: list[TaskGradient]  # one a task in true scale, for the Gramian; empty for one pass
    mixture: Callable[[Sequence[float]], TaskGradient]  # of all parameters by weights; to be called once
    over: set[int] | None = None  # positions to sum the inner products over, if not the shared ones
    count: int = 1  # micro-batches whose gradients are summed

    def gramian(self, shared: Collection[int]) -> Tensor:
        """``[m, m]`` of the mean gradients, over the shared parameters where nothing else is said."""
        found = gramian(self.gradients, shared if self.over is None else self.over)
        return found / self.count**2


class Scope:
    """From the losses of a batch to task gradients and their mixture.

    The Gramian is that of all shared parameters, or of their last block alone: for losses of one forward, the
    task gradients then stop early and the rest is passed once, weighted. Positions are those of `parameters`,
    by name, and after them of what else turns up: `adopt` names a leaf that trains all the same, or gives
    None. `shared` are names of the shared parameters, or of modules that hold them; by default those are
    shared that two tasks have reached so far. A batch may lack some tasks.

    Source:
        The Gramian over the last shared layer stands for that over all of them in GradNorm (Chen et al., ICML
        2018). Departure: a whole block, and raw gradients.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        parameters: Mapping[str, Tensor],
        shared: Sequence[str] | None = None,
        adopt: Callable[[Tensor], str | None] = lambda leaf: None,
        blockwise: bool = False,
    ) -> None:
        self.tasks = list(tasks)
        self.names: list[str] = []
        self.parameters: list[Tensor] = []
        self.reached: list[set[int]] = [set() for _ in self.tasks]  # positions, by each task so far
        self.block_name = ""  # what the last block is called, once there is one
        self._blockwise = blockwise
        self._prefixes = shared
        self._named: set[int] = set()
        self._adopt = adopt
        self._where: dict[int, int] = {}
        for name, parameter in parameters.items():
            self._append(name, parameter)

    @property
    def shared(self) -> set[int]:
        """Positions of the shared parameters as known by now."""
        return shared_positions(self.reached) if self._prefixes is None else self._named

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, one_pass: bool = False
    ) -> Gathered:
        """Take the gradients of one batch; graphs are freed before this returns, or with the mixture.

        Functions are called, differentiated and freed one by one, after the losses given as tensors: never
        more than one function's graph is alive. `factor` is that of a gradient scaler, by which losses are
        multiplied and gradients divided. With `one_pass` no Gramian is asked for: where all losses are
        tensors, there is no gradient yet, and the mixture is one pass of them.

        Raises:
            TypeError: A loss is a function, and the Gramian that of the last block.
            ValueError: A graph cannot be read, or functions share a part.
        """
        ready = {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}
        values = {name: loss.detach() for name, loss in ready.items()}
        found, needed_later = self._walk_all(ready)
        block: set[int] | None = None
        late: list[set[int]] = [set() for _ in found]
        if one_pass and len(ready) == len(losses):
            late = [set(now) for now in found]
        elif self._blockwise:
            block, late = self._split(losses, found)
        again = any(late)
        gradients: dict[str, TaskGradient] = {}
        for name, now, later, needed in zip(ready, found, late, needed_later, strict=True):
            early = [p for p in now if p not in later]
            gradients[name] = gradient([ready[name]], [1.0], early, self.parameters, needed or again, factor)
        for name, function in losses.items():
            if not isinstance(function, Tensor):
                values[name], gradients[name] = self._called(name, function, factor)
                self.reached[self.tasks.index(name)].update(gradients[name])
        in_order = [gradients.get(task, {}) for task in self.tasks]

        def mixture(weights: Sequence[float]) -> TaskGradient:
            mixed = combine(in_order, self.reached, weights, self.shared)
            if not again:
                return mixed
            roots, chosen = [*ready.values()], [float(weights[self.tasks.index(name)]) for name in ready]
            weighted = weighted_positions(self.reached, weights, self.shared)
            return mixed | weighted_gradient(roots, late, chosen, weighted, self.parameters, factor)

        return Gathered({name: values[name] for name in losses}, in_order, mixture, block)

    def _split(
        self, losses: Mapping[str, Loss], found: Sequence[Sequence[int]]
    ) -> tuple[set[int], list[set[int]]]:
        """Positions of the last block, and of what each loss reaches below it."""
        for name, loss in losses.items():
            if not isinstance(loss, Tensor):
                raise TypeError(
                    "`scope='last_block'` goes through the graphs of all losses together, but "
                    f"`losses['{name}']` is a function, whose graph is freed before the next; use "
                    "`scope='parameters'`, or give the losses as tensors."
                )
        shared = self.shared
        self.block_name, block = _last_block(self.names, shared)
        return block, [{p for p in now if p in shared and p not in block} for now in found]

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
        return sorted(self._where[leaf] for leaf in found.leaves if leaf in self._where)

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
            self.reached[self.tasks.index(task)].update(each)
        return found, kept(walks)

    def _called(
        self, name: str, function: Callable[[], Tensor], factor: Tensor | None
    ) -> tuple[Tensor, TaskGradient]:
        loss = function()
        try:
            found = gradient([loss], [1.0], self._meet(walk(loss)), self.parameters, False, factor)
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            raise ValueError(
                f"`losses['{name}']` is a function whose graph shares a part with a loss that has been "
                "differentiated and freed before it; compute that part inside each function, or give the "
                "losses as tensors."
            ) from error
        return loss.detach(), found


class Window:
    """Sums over the micro-batches of one accumulation window: m copies of the gradients.

    The trainer divides every micro-batch by the length of a full window, so that the gradient that goes in
    with the last one is the sum. The Gramian is that of the mean.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._values: dict[str, list[Tensor]] = {}
        self._gradients: list[TaskGradient] = [{} for _ in scope.tasks]
        self._count = 0

    def add(self, gathered: Gathered) -> None:
        """Take in one micro-batch."""
        for name, value in gathered.values.items():
            self._values.setdefault(name, []).append(value)
        for total, part in zip(self._gradients, gathered.gradients, strict=True):
            accumulate(total, part, 1.0)
        self._count += 1

    def close(self) -> Gathered:
        """Means of the losses, and the sums of the gradients; to be used no more."""
        means = {name: torch.stack(found).mean(dim=0) for name, found in self._values.items()}

        def mixture(weights: Sequence[float]) -> TaskGradient:
            return combine(self._gradients, self._scope.reached, weights, self._scope.shared)

        return Gathered(means, self._gradients, mixture, count=self._count)


def _last_block(names: Sequence[str], shared: Iterable[int]) -> tuple[str, set[int]]:
    """The last child with shared parameters, as registered, of the deepest module that holds all; or that."""
    paths = {p: names[p].split(".")[:-1] for p in sorted(shared)}
    common = next(iter(paths.values()), [])
    while any(path[: len(common)] != common for path in paths.values()):
        common = common[:-1]
    depth = len(common)
    children = [path[depth] for path in paths.values() if len(path) > depth]
    if not children:
        return ".".join(common), set(paths)
    block = {p for p, path in paths.items() if path[depth : depth + 1] == children[-1:]}
    return ".".join([*common, children[-1]]), block
