"""The Gramian over the last block of the shared part only, then one weighted backward pass for the rest."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from psst.pareto.injection import TaskGradient, combine, weighted_positions
from psst.pareto.scopes import Gathered, Scope
from psst.pareto.task_gradients import Loss, divide, full_precision, gradient, times, weighted_gradient


class LastBlock(Scope):
    """Gradients of each task over its own parameters and the last shared block; the trunk weighted, once.

    For losses of one shared forward. The task gradients stop early and the trunk is passed once, so that a
    step costs the heads and the last block more than a plain one. All graphs live until the end of the step.

    Source:
        The Gramian over the last shared layer stands for that over all of them in GradNorm (Chen et al., ICML
        2018). Departure: a whole block, and raw gradients.
    """

    block_name = ""
    """What the last block is called, once there is one."""

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients that stop at the last block; TypeError for functions, whose graphs must go."""
        ready = tensors(losses, "last_block")
        found, _ = self._walk_all(ready)
        shared = self.shared
        self.block_name, block = last_block(self.names, shared)
        early = [[p for p in reached if p in block or p not in shared] for reached in found]
        late = [[p for p in reached if p in shared and p not in block] for reached in found]
        device = next(iter(ready.values())).device
        with full_precision(device):
            scaled = [times(loss, factor) for loss in ready.values()]
            taken = [
                gradient(loss, indices, self.parameters, keep=True)
                for loss, indices in zip(scaled, early, strict=True)
            ]
        gradients = self._in_order(dict(zip(ready, taken, strict=True)))
        divide(gradients, factor)

        def mixture(weights: Sequence[float]) -> TaskGradient:
            mixed = combine(gradients, self.reached, weights, shared)
            chosen = [float(weights[self.tasks.index(name)]) for name in ready]
            weighted = weighted_positions(self.reached, weights, shared)
            with full_precision(device):
                trunk = weighted_gradient(scaled, late, chosen, weighted, self.parameters)
            divide([trunk], factor)
            return mixed | trunk

        return Gathered({name: loss.detach() for name, loss in ready.items()}, gradients, mixture, block)


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


def tensors(losses: Mapping[str, Loss], scope: str) -> dict[str, Tensor]:
    """The losses as tensors.

    Raises:
        TypeError: One is a function.
    """
    found = {name: loss for name, loss in losses.items() if isinstance(loss, Tensor)}
    for name in losses:
        if name not in found:
            raise TypeError(
                f"`scope='{scope}'` goes through the graphs of all losses together, but `losses['{name}']` "
                "is a function, whose graph is freed before the next; use `scope='parameters'`, or give the "
                "losses as tensors."
            )
    return found
