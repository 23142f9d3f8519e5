"""Inner products of gradients that are kept parameter by parameter."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from psst.pareto.injection import TaskGradient

_CHUNK = 2**20  # most numbers of one gradient joined for inner products; a larger parameter goes by itself


def gramian(gradients: Sequence[TaskGradient], shared: Iterable[int]) -> Tensor:
    """Inner products of task gradients over the shared parameters, a few parameters at a time.

    Parameters are joined up to `_CHUNK` numbers, so that small ones cost no call each and no copy of all
    gradients exists. Dot products do not run in the reduced precision that a user may have allowed for the
    matrix products of the network. A missing entry counts as zero. The ``[m, m]`` are on the device of the
    gradients, float64 where one of them is, float32 otherwise.
    """
    like = {p: value for gradient in gradients for p, value in gradient.items()}
    device = next(iter(like.values())).device if like else torch.device("cpu")
    doubles = (torch.float64, torch.complex128)
    wide = torch.float64 if any(value.dtype in doubles for value in like.values()) else torch.float32
    m = len(gradients)
    total = torch.zeros(m, m, dtype=wide, device=device)
    for chunk in _chunks([p for p in sorted(shared) if p in like], like):
        rows = [torch.cat([_flat(gradient, p, like) for p in chunk]).to(wide) for gradient in gradients]
        products = [torch.dot(rows[min(i, j)], rows[max(i, j)]) for i in range(m) for j in range(m)]
        total += torch.stack(products).view(m, m).to(device)
    return total


def _chunks(order: Sequence[int], like: Mapping[int, Tensor]) -> Iterator[list[int]]:
    """Neighboring positions on one device, of up to `_CHUNK` numbers together; a larger one by itself."""
    chunk: list[int] = []
    size = 0
    for p in order:
        value = like[p]
        if chunk and (size + value.numel() > _CHUNK or value.device != like[chunk[0]].device):
            yield chunk
            chunk, size = [], 0
        chunk.append(p)
        size += value.numel()
    if chunk:
        yield chunk


def _flat(gradient: TaskGradient, p: int, like: Mapping[int, Tensor]) -> Tensor:
    """``[n]`` real numbers: a complex one counts as two, a sparse gradient as what it stands for."""
    value = gradient[p] if p in gradient else torch.zeros_like(like[p])
    value = value.to_dense() if value.is_sparse else value
    return (torch.view_as_real(value) if value.is_complex() else value).reshape(-1)
