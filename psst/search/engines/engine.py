"""Where the work of a search is done: here, in processes of this machine, or in a Ray cluster."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a worker that has not yet opened its workshop knows nothing of training
    from psst.search.work import Work, Workshop

__all__ = ["Engine", "InProcess", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Of one piece of work.

    Args:
        name: Of the unit.
        result: Plain values; empty after an error.
        error: Why there is none.
    """

    name: str
    result: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


class Engine(Protocol):
    """Does pieces of work side by side."""

    slots: int

    def submit(self, work: "Work") -> None:
        """Start one; only while fewer than `slots` are at work."""

    def wait(self) -> Outcome:
        """Return one that has ended."""

    def close(self) -> None:
        """Stop whatever is at work."""


class InProcess:
    """Does one piece after the other; an error is raised where it occurs.

    Args:
        workshop: Of this process.
    """

    slots = 1

    def __init__(self, workshop: "Workshop") -> None:
        self.workshop = workshop
        self._work: list[Work] = []

    def submit(self, work: "Work") -> None:
        """Keep it for `wait`."""
        self._work.append(work)

    def wait(self) -> Outcome:
        """Do it."""
        work = self._work.pop()
        from psst.search.ranks import agree

        return Outcome(work.name, agree(work.do(self.workshop)))

    def close(self) -> None:
        """Nothing is at work."""
