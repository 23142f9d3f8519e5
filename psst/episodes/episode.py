"""The typed batch of few-shot training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Episode:
    """B episodes of N ways with S support and Q query images each, class by class.

    Attributes:
        support: ``[B, N*S, C, H, W]`` uint8 or float.
        support_labels: ``[B, N*S]`` int64 in ``[0, N)``.
        query: ``[B, N*Q, C, H, W]``.
        query_labels: ``[B, N*Q]`` int64 in ``[0, N)``.
        class_ids: ``[B, N]`` int64, class of each label in the data set.
        index: ``[B]`` int64, place of each episode in its stream; keys all randomness of the step.
        class_names: B lists of N names.
    """

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    class_ids: Tensor
    index: Tensor
    class_names: list[list[str]]

    @property
    def n_way(self) -> int:
        """Number of classes, N."""
        return self.class_ids.shape[1]

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Episode":
        """Return the episode on ``device``."""
        return self._each(partial(Tensor.to, device=device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> "Episode":
        """Return the episode in page-locked memory; the loader's ``pin_memory`` calls this."""
        return self._each(Tensor.pin_memory if device is None else partial(Tensor.pin_memory, device=device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Episode":
        return Episode(
            function(self.support),
            function(self.support_labels),
            function(self.query),
            function(self.query_labels),
            function(self.class_ids),
            function(self.index),
            self.class_names,
        )
