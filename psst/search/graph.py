"""The units of a search as a graph: what waits for what, what runs next, and on which engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a worker that has not yet opened its workshop knows nothing of training
    from psst.search.work import Work, Workshop

_ATTEMPTS = 3  # of a unit that fails in another process, or whose process is killed


@dataclass(frozen=True)
class Outcome:
    """Of one piece of work."""

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
    """Does one piece after the other; an error is raised where it occurs."""

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


@dataclass(frozen=True)
class Node:
    """One unit, or one decision between units."""

    name: str  # unique
    after: tuple[str, ...]  # names of the nodes that it waits for
    begin: "Callable[[], Work | None]"  # gives the work, None if there is none left; may add nodes
    patient: bool = False  # whether it leaves the engine to all others


class Graph:
    """Runs nodes on an engine, in the order in which they were added as far as they wait for nothing.

    Args:
        started: Told of each work that starts.
        finished: Gets each work that has come to its end and its result, here in the main process.
        failed: Told of each work that is started again, and why.
    """

    def __init__(
        self,
        started: "Callable[[Work], None]",
        finished: "Callable[[Work, dict[str, Any]], None]",
        failed: "Callable[[Work, str], None]",
    ) -> None:
        self.started, self.finished, self.failed = started, finished, failed
        self._waiting: dict[str, Node] = {}
        self._done: set[str] = set()
        self._queue: list[tuple[bool, int, str, Work]] = []
        self._running: dict[str, tuple[str, Work]] = {}
        self._failures: dict[str, int] = {}
        self._count = 0

    @property
    def running(self) -> list[str]:
        """Names of the units at work."""
        return list(self._running)

    def add(self, *nodes: Node) -> None:
        """Add nodes; those they wait for may be added later."""
        for node in nodes:
            assert node.name not in self._done.union(self._waiting), f"{node.name} is there already"
            self._waiting[node.name] = node

    def run(self, engine: Engine) -> None:
        """Run until nothing is left.

        Raises:
            Exception: That of the unit that has failed three times.
        """
        while True:
            for node in self._ready():
                self._begin(node)
            while self._queue and len(self._running) < engine.slots:
                _, _, name, work = self._queue.pop(0)
                self._running[work.name] = name, work
                self.started(work)
                engine.submit(work)
            if not self._running:
                assert not self._waiting, f"{list(self._waiting)} wait for what nobody does"
                return
            outcome = engine.wait()
            name, work = self._running.pop(outcome.name)
            if outcome.error is None:
                self.finished(work, outcome.result)
                self._done.add(name)
            else:
                self._try_again(name, work, outcome.error)

    def _ready(self) -> Iterator[Node]:
        """Take out nodes that wait for nothing, as long as there is one."""
        while True:
            node = next((node for node in self._waiting.values() if self._done.issuperset(node.after)), None)
            if node is None:
                return
            del self._waiting[node.name]
            yield node

    def _begin(self, node: Node) -> None:
        work = node.begin()
        if work is None:
            self._done.add(node.name)
            return
        self._queue.append((node.patient, self._count, node.name, work))
        self._count += 1
        self._queue.sort(key=lambda entry: entry[:2])

    def _try_again(self, name: str, work: "Work", error: Exception) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] >= _ATTEMPTS:
            raise error
        self.failed(work, str(error))
        self._queue.insert(0, (False, -1, name, work))
