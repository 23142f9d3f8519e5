"""Inner products of gradients that are kept parameter by parameter."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from psst.pareto.injection import TaskGradient

_CHUNK = 2**20
"""Most numbers of one gradient joined for inner products, unless a parameter is larger by itself."""


def gramian(gradients: Sequence[TaskGradient], shared: Iterable[int]) -> Tensor:
    """Inner products of task gradients over the shared parameters, a few parameters at a time.

    Parameters are joined up to `_CHUNK` numbers, so that small ones cost no call each and no copy of all
    gradients exists. Dot products do not run in the reduced precision that a user may have allowed for the
    matrix products of the network.

    Args:
        gradients: m of them; a missing entry counts as zero.
        shared: Positions to sum over.

    Returns:
        ``[m, m]`` on the device of the gradients, float64 where one of them is, float32 otherwise.
    """
    first = {p: value for gradient in gradients for p, value in gradient.items()}
    device = next(iter(first.values())).device if first else torch.device("cpu")
    doubles = (torch.float64, torch.complex128)
    wide = torch.float64 if any(value.dtype in doubles for value in first.values()) else torch.float32
    m = len(gradients)
    pairs = [(i, j) for i in range(m) for j in range(i, m)]
    parts = [torch.zeros(len(pairs), dtype=wide, device=device)]
    for chunk in _chunks([p for p in sorted(shared) if p in first], first):
        joined = _joined(gradients, chunk, first, wide)
        parts.append(torch.stack([torch.dot(joined[i], joined[j]) for i, j in pairs]).to(device))
    sums = (torch.stack(parts).sum(dim=0) if len(parts) != 2 else parts[1]).unbind()
    where = {pair: k for k, pair in enumerate(pairs)}
    return torch.stack([sums[where[min(i, j), max(i, j)]] for i in range(m) for j in range(m)]).view(m, m)


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


def _joined(
    gradients: Sequence[TaskGradient], chunk: Sequence[int], like: Mapping[int, Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """``[n]`` for each gradient: its parts end to end, in one common order; zeros for those it lacks."""
    parts: list[list[Tensor]] = [[] for _ in gradients]
    for p in chunk:
        found = [
            _dense(gradient[p] if p in gradient else torch.zeros_like(like[p])) for gradient in gradients
        ]
        if all(_channels_last(value) for value in found):
            found = [value.permute(0, 2, 3, 1) for value in found]  # as it lies in memory: no copy
        for part, value in zip(parts, found, strict=True):
            part.append(value.reshape(-1))
    return [(part[0] if len(part) == 1 else torch.cat(part)).to(dtype) for part in parts]


def _dense(value: Tensor) -> Tensor:
    """Real numbers in rows: a complex one counts as two, a sparse gradient as what it stands for."""
    value = value.to_dense() if value.is_sparse else value
    return torch.view_as_real(value) if value.is_complex() else value


def _channels_last(value: Tensor) -> bool:
    return (
        value.dim() == 4
        and not value.is_contiguous()
        and value.is_contiguous(memory_format=torch.channels_last)
    )
