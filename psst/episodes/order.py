"""In which order, and on which rank, a loader reads streams and splits."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler


class EpisodeOrder(DistributedSampler[Any]):
    """Indices ``first, first + 1, ...`` of an endless stream, one pass of ``length`` at a time.

    It asks where to begin at the start of every pass, so it can be told what was trained on rather than what
    was fetched. With several ranks, rank r takes every ``n_ranks``-th index. It is a ``DistributedSampler``
    because Lightning leaves those as they are and would shuffle any other.

    Args:
        first: returns the index with which a pass begins; called once a pass, in the main process.
        length: indices of one pass on each rank.
        rank: of this process.
        n_ranks: processes that share the stream.
    """

    def __init__(self, first: Callable[[], int], length: int, rank: int = 0, n_ranks: int = 1) -> None:
        super().__init__(range(length), num_replicas=n_ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]  # a range for a data set
        self.first, self.num_samples = first, length

    @classmethod
    def of_split(cls, length: int, rank: int, n_ranks: int) -> "EpisodeOrder":
        """Return every index below ``length`` once over all ranks; PyTorch repeats some to even them out."""
        return cls(lambda: 0, len(range(rank, length, n_ranks)), rank, n_ranks)

    def __iter__(self) -> Iterator[Any]:
        begin = self.first() + self.rank
        yield from range(begin, begin + self.num_samples * self.num_replicas, self.num_replicas)


class EpisodeLoader(DataLoader[Any]):
    """A loader that tells Lightning it can resume; the position itself is kept by the datamodule."""

    def state_dict(self) -> dict[str, int]:
        """Return nothing: see ``EpisodicDataModule.state_dict``."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Do nothing: see ``EpisodicDataModule.load_state_dict``."""


class StreamPosition:
    """Where training stands in a stream, in batches that went through a step: those fetched do not count."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, consumed: int) -> None:
        """Go on from here, whatever was processed."""
        self._first = consumed  # index with which the current pass began
        self._before: int | None = None  # batches the trainer had processed when it began

    def consumed(self, processed: int, n_ranks: int) -> int:
        """Return the batches of all ranks, given how many each has processed in its life."""
        return self._first if self._before is None else self._first + n_ranks * (processed - self._before)

    def begin_pass(self, processed: int, n_ranks: int) -> int:
        """Return the index that a pass begins with."""
        self._first, self._before = self.consumed(processed, n_ranks), processed
        return self._first
