"""What every few-shot head offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Head"]


class Head(nn.Module, ABC):
    """Classifies the queries of episodes by their labelled supports, on features.

    A subclass keeps its constructor's arguments as attributes; one with parameters makes them in `build`.
    Every query must be classified for itself: its logits may not depend on the other queries.
    """

    def __init__(self) -> None:
        super().__init__()

    def build(self, n_features: int) -> None:
        """Make the layers for features of length D; a second call with the same length changes nothing.

        Args:
            n_features: D.
        """

    @abstractmethod
    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Return the logits of the queries.

        Args:
            support: Features ``[B, NS, D]``, in any order of classes.
            support_labels: ``[B, NS]``, integers in [0, N).
            query: Features ``[B, NQ, D]``.
            n_way: N.

        Returns:
            ``[B, NQ, N]``.
        """
