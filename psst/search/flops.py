"""What a step costs in passes: forward and backward of the main batch through the model."""

from collections.abc import Mapping, Sequence

from torch import Tensor, autograd
from torch.utils.flop_counter import FlopCounterMode


def backward_flops(losses: Mapping[str, Tensor], tasks: Sequence[str]) -> int:
    """Count the floating-point operations of the backward pass of main and some tasks; the graph is kept."""
    parts = [loss for place, (name, loss) in enumerate(losses.items()) if not place or name in tasks]
    with FlopCounterMode(display=False) as counter:
        autograd.backward([part for part in parts if part.requires_grad], retain_graph=True)
    return int(counter.get_total_flops())


def ratio(flops: int, main: int) -> float:
    """Passes of a step, given its operations and those on main alone; 1 where nothing is counted."""
    return max(flops / main, 1.0) if main else 1.0
