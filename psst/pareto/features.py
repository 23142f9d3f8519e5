"""The Gramian on one feature tensor that all losses read: an upper bound in place of the trunk's own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from psst.pareto.graph import Walk, walk
from psst.pareto.injection import TaskGradient, accumulate
from psst.pareto.last_block import tensors
from psst.pareto.scopes import Gathered, Scope
from psst.pareto.task_gradients import Loss, divide, full_precision, positions, times, without_hooks

WAY_OUT = "use `scope='parameters'`, which needs no features"


class Features(Scope):
    """Task gradients with respect to the features; the trunk is passed once with their mixture.

    A step costs about what a plain one does. Only for losses that read the same rows of one tensor: for
    separate inputs every product of two tasks would be zero and no conflict visible. Feature gradients of
    different batches belong to different samples, so there is no denoised Gramian.

    Source:
        Sener and Koltun, Multi-task learning as multi-objective optimization, NeurIPS 2018, section 3.3
        (MGDA-UB). Departure: any method may read the Gramian, and what the bound does not cover is refused.
    """

    denoises = False

    def gather(
        self, losses: Mapping[str, Loss], factor: Tensor | None = None, features: Tensor | None = None
    ) -> Gathered:
        """Gradients with respect to `features` and, of each task, to the parameters above them."""
        ready = tensors(losses, "features")
        if features is None or features.grad_fn is None:
            found = "none" if features is None else "a tensor without a graph"
            raise TypeError(
                f"`scope='features'` needs `features` from `training_step`, the tensor that all losses read, "
                f"found {found}; return it beside `losses`, or {WAY_OUT}."
            )
        walks = [walk(loss, features) for loss in ready]
        below = positions(walk(features), self._where)
        own = self._checked(list(losses), ready, walks, set(below))
        keep = [found.shares_with(walks[index + 1 :]) for index, found in enumerate(walks)]
        self._reach([[*below, *above] if w.stopped else above for above, w in zip(own, walks, strict=True)])
        del walks
        with full_precision(ready[0].device):
            scaled = [times(loss, factor) for loss in ready]
            pairs = [
                self._take(loss, features, above, held)
                for loss, above, held in zip(scaled, own, keep, strict=True)
            ]
        at_features = [pair[0] for pair in pairs]
        heads = [pair[1] for pair in pairs]
        gradients = [{0: g.to(torch.promote_types(g.dtype, torch.float32))} for g in at_features]
        divide(gradients, factor)

        def mixture(weights: Sequence[float]) -> TaskGradient:
            parts: TaskGradient = {}
            for g, weight in zip(at_features, weights, strict=True):
                if weight != 0.0:
                    accumulate(parts, {0: g}, float(weight))
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

        values = [loss.detach() for loss in ready]
        return Gathered(values, gradients, {0}, mixture, _common_rows(at_features))

    def _checked(
        self, tasks: list[str], losses: list[Tensor], walks: list[Walk], below: set[int]
    ) -> list[list[int]]:
        """Positions above the features by task, after making sure that no shared parameter is among them."""
        own = [positions(found, self._where) for found in walks]
        owner: dict[int, str] = {}
        for task, loss, found, above in zip(tasks, losses, walks, own, strict=True):
            if loss.grad_fn is not None and not found.stopped:
                raise ValueError(
                    f"`losses['{task}']` does not reach `features`, on which `scope='features'` weighs the "
                    f"tasks; compute it from the returned tensor itself, or {WAY_OUT}."
                )
            for p in above:
                if p in below or p in owner or p in (self._named or ()):
                    raise ValueError(
                        f"`losses['{task}']` reaches the shared parameter `{self.names[p]}` past `features`, "
                        "where `scope='features'` sees nothing of it; return the last tensor that the "
                        f"losses share, or {WAY_OUT}."
                    )
                owner[p] = task
        return own

    def _take(
        self, loss: Tensor, features: Tensor, above: list[int], keep: bool
    ) -> tuple[Tensor, TaskGradient]:
        if loss.grad_fn is None:
            return torch.zeros_like(features), {}
        inputs = [features, *(self.parameters[p] for p in above)]
        with without_hooks(inputs[1:]):
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
                        f"{WAY_OUT}."
                    )


def _common_rows(gradients: Sequence[Tensor]) -> Tensor:
    """``[m * m]`` numbers of rows in which the gradients of two tasks are both other than zero."""
    rows = torch.stack(
        [(g.reshape(len(g) if g.dim() else 1, -1) != 0.0).any(dim=1) for g in gradients]
    ).float()
    return (rows @ rows.T).flatten()
