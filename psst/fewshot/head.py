"""What every few-shot head offers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones import Setup


class Head(nn.Module, ABC):
    """Classifies the queries of episodes by their labeled supports: a pure function of features.

    A subclass keeps its constructor's arguments as attributes; one with parameters makes them in `build`.
    Logits are equivariant to the order of classes and do not depend on the order of supports. Every query is
    classified for itself; a head that looks at all queries of an episode says so by `transductive`.

    Attributes:
        maps: Whether it reads feature maps ``[..., C', h, w]`` in place of vectors ``[..., D]``.
        transductive: Whether a query's logits may depend on the other queries.

    Example:
        >>> class Cosine(Head):
        ...     def forward(self, support, support_labels, query, n_way):
        ...         centers = F.normalize(prototypes(support, support_labels, n_way), dim=2)
        ...         return 10 * F.normalize(query, dim=2) @ centers.transpose(1, 2)
    """

    maps: bool = False
    transductive: bool = False

    def __init__(self) -> None:
        super().__init__()

    def build(self, setup: Setup) -> None:
        """Make the layers, if there are any, once the backbone stands.

        Args:
            setup: Gives the length of features and the channels of maps.
        """

    @abstractmethod
    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return the logits of the queries.

        Args:
            support: Features ``[B, NS, D]``, or maps ``[B, NS, C', h, w]``, in any order of classes.
            support_labels: ``[B, NS]``, integers in [0, N).
            query: Features ``[B, NQ, D]``, or maps.
            n_way: N.

        Returns:
            ``[B, NQ, N]``.
        """

    def loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor, n_way: int
    ) -> tuple[Tensor, Tensor]:
        """Return what training minimizes, and the logits ``[B, NQ, N]``: cross-entropy by default.

        ``query_labels`` are ``[B, NQ]``, integers in [0, N); all else is as in `forward`.
        """
        logits = self(support, support_labels, query, n_way)
        return F.cross_entropy(logits.flatten(0, 1), query_labels.flatten()), logits

    def chance(self, n_way: int) -> float:
        """Return what `loss` is for a guess that knows nothing: log N for the cross-entropy."""
        return math.log(n_way)

    def observe(self, features: Tensor) -> None:
        """Take note of features ``[n, D]`` that a classifier over all training classes trains on."""


@contextmanager
def precise(*features: Tensor, least: torch.dtype = torch.float32) -> Iterator[tuple[Tensor, ...]]:
    """Give features in a dtype or better, and switch mixed precision off: differences lose their digits."""
    device = features[0].device.type
    least = torch.float32 if device == "mps" else least  # which has no float64
    with torch.autocast(device, enabled=False):
        yield tuple(part.to(torch.promote_types(part.dtype, least)) for part in features)


def positive(argument: str, value: float) -> float:
    """Return an argument's value; raise ValueError if it is not above 0."""
    if not value > 0:
        raise ValueError(f"`{argument}={value}` must be above 0; leave it out for the default.")
    return value


def squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """Return ``[B, n, N]`` for ``points`` ``[B, n, D]`` and ``centers`` ``[B, N, D]``, by inner products."""
    squares = points.square().sum(dim=2)[:, :, None] + centers.square().sum(dim=2)[:, None, :]
    return squares - 2.0 * points @ centers.mT


def cosines(points: Tensor, centers: Tensor) -> Tensor:
    """Return ``[B, n, N]`` as above: the few products are divided by the lengths, not the many features."""
    lengths: Tensor = torch.linalg.vector_norm(points, dim=2, keepdim=True)
    return points @ F.normalize(centers, dim=2).mT / lengths.clamp_min(1e-12)  # least as in `normalize`


def prototypes(support: Tensor, support_labels: Tensor, n_way: int) -> Tensor:
    """Return the class means ``[B, N, D]`` of ``support`` ``[B, NS, D]`` labeled ``[B, NS]``."""
    classes = torch.arange(n_way, device=support_labels.device)
    membership = (support_labels[:, None, :] == classes[:, None]).to(support.dtype)  # [B, N, NS]
    return membership @ support / membership.sum(dim=2, keepdim=True)
