"""The Gramian over the last block of the shared part only, then one weighted backward pass for the rest."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from psst.pareto.injection import TaskGradient, combine, weighted_positions
from psst.pareto.scopes import Gathered, Scope
from psst.pareto.task_gradients import Loss, divide, full_precision, gradient, times


class LastBlock(Scope):
    """Gradients of each task over its own parameters and the last shared block; the trunk weighted, once.

    For losses of one shared forward. The task gradients stop early and the trunk is passed once, so that a
    step costs the heads and the last block more than a plain one. All graphs live until the end of the step.

    Args:
        names: Of the module's parameters.
        parameters: The same.
        shared: As in `Scope`.
        announce: Told once which block it is.

    Source:
        The Gramian over the last shared layer stands for that over all of them in GradNorm (Chen et al., ICML
        2018). Departure: a whole block, and raw gradients.
    """

    def __init__(
        self,
        names: Sequence[str],
        parameters: Sequence[Tensor],
        shared: Collection[int] | None = None,
        announce: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__(names, parameters, shared)
        self._announce = announce
        self._announced = ""

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients that stop at the last block; TypeError for functions, whose graphs must go."""
        ready = tensors(losses, "last_block")
        found = self._walk_all(ready)
        shared = self.shared
        block = self._block(shared)
        early = [[p for p in reached if p in block or p not in shared] for reached in found]
        late = [[p for p in reached if p in shared and p not in block] for reached in found]
        device = ready[0].device
        with full_precision(device):
            scaled = [times(loss, factor) for loss in ready]
            gradients = [
                gradient(loss, indices, self.parameters, keep=True)
                for loss, indices in zip(scaled, early, strict=True)
            ]
        divide(gradients, factor)

        def mixture(weights: Sequence[float]) -> TaskGradient:
            mixed = combine(gradients, self.reached, weights, shared)
            with full_precision(device):
                trunk = self._trunk(scaled, late, weights, shared)
            divide([trunk], factor)
            return mixed | trunk

        return Gathered([loss.detach() for loss in ready], gradients, block, mixture)

    def _block(self, shared: set[int]) -> set[int]:
        name, block = last_block(self.names, shared)
        if block and name != self._announced:
            self._announced = name
            self._announce(name)
        return block

    def _trunk(
        self, losses: list[Tensor], late: list[list[int]], weights: Sequence[float], shared: set[int]
    ) -> TaskGradient:
        """One backward pass of the weighted losses; of their plain sum where no task of weight arrives."""
        weighted = weighted_positions(self.reached, weights, shared)
        first = {p for part, weight in zip(late, weights, strict=True) if weight != 0.0 for p in part}
        passes = [
            (first & weighted, [float(weight) for weight in weights]),
            ({p for part in late for p in part} - weighted, [float(weight == 0.0) for weight in weights]),
        ]
        totals: list[tuple[Tensor, set[int]]] = []
        for chosen, shares in passes:
            terms = [
                loss if share == 1.0 else share * loss
                for loss, share, part in zip(losses, shares, late, strict=True)
                if share != 0.0 and not chosen.isdisjoint(part)
            ]
            if terms:
                totals.append((terms[0] if len(terms) == 1 else torch.stack(terms).sum(), chosen))
        trunk: TaskGradient = {}
        for index, (total, chosen) in enumerate(totals):
            trunk |= gradient(total, sorted(chosen), self.parameters, keep=index + 1 < len(totals))
        return trunk


def last_block(names: Sequence[str], shared: Collection[int]) -> tuple[str, set[int]]:
    """Name and positions of the last block of the shared part.

    That is the last child with shared parameters of the deepest module that holds them all, children in the
    order in which their parameters were registered; the module itself where it has no such child.

    Args:
        names: Of all parameters.
        shared: Positions of the shared ones.
    """
    paths = {p: names[p].split(".")[:-1] for p in sorted(shared)}
    if not paths:
        return "", set()
    common = next(iter(paths.values()))
    for path in paths.values():
        length = next((i for i, (a, b) in enumerate(zip(common, path, strict=False)) if a != b), None)
        common = common[: min(len(common), len(path)) if length is None else length]
    depth = len(common)
    children = [path[depth] for path in paths.values() if len(path) > depth]
    if not children:
        return ".".join(common), set(paths)
    block = {p for p, path in paths.items() if path[depth : depth + 1] == children[-1:]}
    return ".".join([*common, children[-1]]), block


def tensors(losses: Mapping[str, Loss], scope: str) -> list[Tensor]:
    """The losses as tensors.

    Raises:
        TypeError: One is a function.
    """
    functions = [name for name, loss in losses.items() if not isinstance(loss, Tensor)]
    if functions:
        raise TypeError(
            f"`scope='{scope}'` goes through the graphs of all losses together, but "
            f"`losses['{functions[0]}']` is a function, whose graph is freed before the next; use "
            "`scope='parameters'`, or give the losses as tensors."
        )
    return [loss for loss in losses.values() if isinstance(loss, Tensor)]
