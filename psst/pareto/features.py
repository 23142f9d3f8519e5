"""The Gramian on one feature tensor that all losses read: an upper bound in place of the trunk's own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from psst.pareto.graph import Walk, walk
from psst.pareto.injection import TaskGradient, accumulate
from psst.pareto.last_block import tensors
from psst.pareto.scopes import Gathered, Scope
from psst.pareto.task_gradients import Loss, divide, full_precision, kept, times, without_hooks

_WAY_OUT = "use `scope='parameters'`, which needs no features"


class Features(Scope):
    """Task gradients with respect to the features; the trunk is passed once with their mixture.

    A step costs about what a plain one does. Only for losses that read the same rows of one tensor: for
    separate inputs every product of two tasks would be zero and no conflict visible. Feature gradients of
    different batches belong to different samples, so there is no denoised Gramian.

    Source:
        Sener and Koltun, Multi-task learning as multi-objective optimization, NeurIPS 2018, section 3.3
        (MGDA-UB). Departure: any method may read the Gramian, and what the bound does not cover is refused.
    """

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients with respect to `features` and, of each task, to the parameters above them."""
        ready = tensors(losses, "features")
        if features is None or features.grad_fn is None:
            found = "none" if features is None else "a tensor without a graph"
            raise TypeError(
                f"`scope='features'` needs `features` from `training_step`, the tensor that all losses read, "
                f"found {found}; return it beside `losses`, or {_WAY_OUT}."
            )
        walks = [walk(loss, features) for loss in ready.values()]
        below = self._meet(walk(features))
        own = self._checked(ready, walks, set(below))
        keep = kept(walks)
        for task, above, found_walk in zip(ready, own, walks, strict=True):
            self._reach(task, [*below, *above] if found_walk.stopped else above)
        del walks
        with full_precision(features.device):
            pairs = [
                self._take(times(loss, factor), features, above, held)
                for loss, above, held in zip(ready.values(), own, keep, strict=True)
            ]
        at_features = {name: pair[0] for name, pair in zip(ready, pairs, strict=True)}
        heads = [pair[1] for pair in pairs]
        wide = {
            name: {0: g.to(torch.promote_types(g.dtype, torch.float32))} for name, g in at_features.items()
        }
        gradients = self._in_order(wide)
        divide(gradients, factor)

        def mixture(weights: Sequence[float]) -> TaskGradient:
            parts: TaskGradient = {}
            for name, g in at_features.items():
                weight = float(weights[self.tasks.index(name)])
                if weight != 0.0:
                    accumulate(parts, {0: g}, weight)
            mixed: TaskGradient = {}
            if below and parts:
                inputs = [self.parameters[p] for p in below]
                with full_precision(features.device), without_hooks(inputs):
                    trunk = torch.autograd.grad(features, inputs, parts[0], materialize_grads=True)
                mixed = dict(zip(below, trunk, strict=True))
            for head in heads:
                mixed |= head
            divide([mixed], factor)
            return mixed

        values = {name: loss.detach() for name, loss in ready.items()}
        return Gathered(values, gradients, mixture, {0}, _common_rows(list(at_features.values())))

    def _checked(
        self, losses: Mapping[str, Tensor], walks: Sequence[Walk], below: set[int]
    ) -> list[list[int]]:
        """Positions above the features by task, after making sure that no shared parameter is among them."""
        own = [self._meet(found) for found in walks]
        owner: dict[int, str] = {}
        for (task, loss), found, above in zip(losses.items(), walks, own, strict=True):
            if loss.grad_fn is not None and not found.stopped:
                raise ValueError(
                    f"`losses['{task}']` does not reach `features`, on which `scope='features'` weighs the "
                    f"tasks; compute it from the returned tensor itself, or {_WAY_OUT}."
                )
            for p in above:
                if p in below or p in owner or p in self._named:
                    raise ValueError(
                        f"`losses['{task}']` reaches the shared parameter `{self.names[p]}` past `features`, "
                        "where `scope='features'` sees nothing of it; return the last tensor that the "
                        f"losses share, or {_WAY_OUT}."
                    )
                owner[p] = task
        return own

    def _take(
        self, loss: Tensor, features: Tensor, above: list[int], keep: bool
    ) -> tuple[Tensor, TaskGradient]:
        if loss.grad_fn is None:
            return torch.zeros_like(features), {}
        inputs = [features, *(self.parameters[p] for p in above)]
        with without_hooks(inputs):  # those on the features see the mixture, once
            first, *others = torch.autograd.grad(loss, inputs, retain_graph=keep, materialize_grads=True)
        return first, dict(zip(above, others, strict=True))

    def refuse(self, check: Sequence[float], tasks: Sequence[str]) -> None:
        """ValueError where two losses read rows of the features of which none is common."""
        m = len(tasks)
        for i in range(m):
            for j in range(i):
                if check[i * m + i] > 0.0 and check[j * m + j] > 0.0 and check[i * m + j] == 0.0:
                    raise ValueError(
                        f"`losses['{tasks[j]}']` and `losses['{tasks[i]}']` read disjoint rows of "
                        "`features`, where gradients of two tasks look orthogonal and no conflict shows; "
                        f"{_WAY_OUT}."
                    )


def _common_rows(gradients: Sequence[Tensor]) -> Tensor:
    """``[m * m]`` numbers of rows in which the gradients of two tasks are both other than zero."""
    rows = torch.stack(
        [(g.reshape(len(g) if g.dim() else 1, -1) != 0.0).any(dim=1) for g in gradients]
    ).float()
    return (rows @ rows.T).flatten()
