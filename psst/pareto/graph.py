"""Walking autograd graphs: which leaves a loss reaches, and which nodes two losses share."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node


@dataclass(frozen=True, eq=False)
class Walk:
    """What lies under a tensor. It holds on to every node, and so to every saved activation: drop it soon.

    Nodes that save nothing for backward (casts, views) may be passed any number of times; under autocast all
    losses share the casts of the weights.
    """

    nodes: set[Node]  # inner ones that save something for backward
    leaves: dict[int, Tensor]  # by identity
    compiled: dict[Node, set[int]]  # those of compiled functions, with the outputs by which they were entered


def walk(root: Tensor) -> Walk:
    """Walk the graph under a tensor, a microsecond a node: a constant reaches nothing, a leaf itself."""
    seen: set[Node] = set()
    nodes: set[Node] = set()
    compiled: dict[Node, set[int]] = {}
    leaves: dict[int, Tensor] = {id(root): root} if root.requires_grad and root.is_leaf else {}
    waiting = [(root.grad_fn, root.output_nr)] if root.grad_fn is not None else []
    while waiting:
        node, output = waiting.pop()
        if node in compiled:
            compiled[node].add(output)
        if node in seen:
            continue
        kind = type(node).__name__
        if kind == "AccumulateGrad":
            leaf: Tensor = node.variable  # type: ignore[attr-defined]  # a leaf node has one
            leaves[id(leaf)] = leaf
            continue
        if node.name() == "CheckpointFunctionBackward":
            raise ValueError(
                "`torch.utils.checkpoint.checkpoint(use_reentrant=True)` hides the parameters inside from "
                "task gradients; pass `use_reentrant=False`."
            )
        seen.add(node)
        if kind == "CompiledFunctionBackward":
            compiled[node] = {output}
        if _saves(type(node)):
            nodes.add(node)
        waiting.extend((child, index) for child, index in node.next_functions if child is not None)
    return Walk(nodes, leaves, compiled)


def joined(walks: Sequence[Walk]) -> bool:
    """Whether two losses leave one compiled function by different outputs: it holds more than a trunk."""
    entered: dict[Node, set[int]] = {}
    every = [item for found in walks for item in found.compiled.items()]
    return any(entered.setdefault(node, outputs) != outputs for node, outputs in every)


@functools.cache
def _saves(kind: type) -> bool:
    """Whether nodes of a type may hold what backward frees; only PyTorch's own are trusted not to."""
    own = kind.__name__.rstrip("0123456789").endswith("Backward") and kind.__name__[-1].isdigit()
    return not own or any("saved" in name for name in dir(kind))
