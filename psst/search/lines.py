"""Straight lines of work side by side: each waits for its own results only, and the first goes first."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from psst.search.engines import Engine, LostWorkerError
from psst.search.work import Line, Work

_ATTEMPTS = 3  # of a unit whose process is lost
_PAUSE = 0.3  # seconds between two looks at what the workers are doing


class _State:
    """Where one line stands."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.waiting: list[Work] = []
        self.running = 0
        self.results: dict[str, dict[str, Any]] = {}
        self.ended = False
        self.value: Any = None

    def advance(self, begin: bool = False) -> None:
        """Send the results, and take what is to be done next."""
        try:
            self.waiting = list(next(self.line) if begin else self.line.send(self.results))
            self.results = {}
        except StopIteration as end:
            self.ended, self.value = True, end.value

    @property
    def idle(self) -> bool:
        """Whether all that it asked for is there."""
        return not self.ended and not self.waiting and not self.running


def run_lines(
    lines: Sequence[Line],
    engine: Engine,
    known: Callable[[Work], dict[str, Any] | None],
    started: Callable[[Work], None],
    finished: Callable[[Work, dict[str, Any]], None],
    lost: Callable[[Work], None],
    look: Callable[[], None],
) -> list[Any]:
    """Run lines to their ends and return what they return, in order.

    Args:
        lines: The first have precedence.
        engine: Does the work.
        known: Gives the result of work that was finished earlier.
        started: Told of each piece that starts.
        finished: Told of each piece and its result.
        lost: Told of each piece whose process was lost and which is started again.
        look: Called while nothing happens.

    Raises:
        Exception: That of a unit; a RuntimeError where its process was lost three times.
    """
    states = [_State(line) for line in lines]
    running: dict[Future[dict[str, Any]], tuple[_State, Work]] = {}
    failures: dict[str, int] = {}
    for state in states:
        state.advance(begin=True)
    while not all(state.ended for state in states):
        for state in states:
            _take_known(state, known)
        busy = {work.name for _, work in running.values()}
        for state, work in _next(states, engine.slots - len(running), busy):
            started(work)
            running[engine.submit(work)] = state, work
        ready = wait(running, timeout=_PAUSE, return_when=FIRST_COMPLETED).done
        look()
        for future in ready:
            state, work = running.pop(future)
            state.running -= 1
            try:
                state.results[work.name] = future.result()
            except LostWorkerError as error:
                failures[work.name] = failures.get(work.name, 0) + 1
                if failures[work.name] >= _ATTEMPTS:
                    raise RuntimeError(f"unit `{work.name}`: {error}") from error
                lost(work)
                state.waiting.insert(0, work)
                continue
            finished(work, state.results[work.name])
    return [state.value for state in states]


def _take_known(state: _State, known: Callable[[Work], dict[str, Any] | None]) -> None:
    """Skip what was finished earlier, and advance where nothing is left to wait for."""
    while not state.ended:
        for work in list(state.waiting):
            result = known(work)
            if result is not None:
                state.results[work.name] = result
                state.waiting.remove(work)
        if not state.idle:
            return
        state.advance()


def _next(states: Sequence[_State], slots: int, busy: set[str]) -> list[tuple[_State, Work]]:
    """Take out what starts now; what another line has started is waited for."""
    chosen: list[tuple[_State, Work]] = []
    for state in states:
        for work in list(state.waiting):
            if len(chosen) < slots and work.name not in busy:
                busy.add(work.name)
                state.waiting.remove(work)
                chosen.append((state, work))
                state.running += 1
    return chosen
