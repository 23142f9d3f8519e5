"""Worker processes on this machine: one that is killed costs its own unit's last steps and nothing else."""

from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from psst.search.engines.worker import serve
from psst.search.graph import Outcome

if TYPE_CHECKING:
    from psst.search.work import Work

_PAUSE = 0.3  # seconds between two looks at what the workers are doing


class _Member:
    """One worker process."""

    def __init__(self, number: int, payload: bytes, threads: int) -> None:
        context = get_context("spawn")  # forked processes share locks of threads that do not exist there
        self.number = number
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=serve, args=(theirs, payload, threads, number))
        self.process.start()
        theirs.close()
        self.work: Work | None = None
        self.opened = False

    @property
    def handles(self) -> "list[Connection[Any, Any] | int]":
        """What `multiprocessing.connection.wait` can wait for."""
        return [self.connection, self.process.sentinel]

    def stop(self) -> None:
        """End the process at once: whatever it writes is whole or absent."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class ProcessPool:
    """Keeps `slots` processes, started when first needed and replaced when lost."""

    def __init__(self, payload: bytes, slots: int, threads: int, look: Callable[[], None]) -> None:
        self.slots = slots
        self._payload, self._threads, self._look = payload, threads, look
        self._members: list[_Member] = []

    def submit(self, work: "Work") -> None:
        """Give it to an idle process, or to a new one."""
        member = next((member for member in self._members if member.work is None), None)
        if member is None:
            taken = {member.number for member in self._members}
            number = min(set(range(self.slots)) - taken)
            member = _Member(number, self._payload, self._threads)
            self._members.append(member)
        member.work = work
        with suppress(OSError):  # lost while idle, as `wait` will find
            member.connection.send(work)

    def wait(self) -> Outcome:
        """Return the first outcome; that of a lost process is an error."""
        while True:
            busy = [member for member in self._members if member.work is not None]
            wait([handle for member in busy for handle in member.handles], timeout=_PAUSE)
            self._look()
            for member in busy:
                outcome = self._heard(member)
                if outcome is not None:
                    return outcome

    def close(self) -> None:
        """Kill all processes."""
        for member in self._members:
            member.stop()
        self._members.clear()

    def _heard(self, member: _Member) -> Outcome | None:
        assert member.work is not None
        name = member.work.name
        try:
            while member.connection.poll():
                kind, content = member.connection.recv()
                if kind == "opened":
                    member.opened = True
                    continue
                if not member.opened:
                    raise content
                member.work = None
                failed = kind == "failed"
                return Outcome(name, error=content) if failed else Outcome(name, content)
        except (EOFError, ConnectionError):
            return self._lost(member, name)
        return None if member.process.is_alive() else self._lost(member, name)

    def _lost(self, member: _Member, name: str) -> Outcome:
        member.stop()
        self._members.remove(member)
        code = member.process.exitcode
        if not member.opened and (code or 0) > 0:
            raise RuntimeError(
                f"a worker process ended with exit status {code} before it could begin, see above; a script "
                "that searches with `workers` must do so below `if __name__ == '__main__':`, and a notebook "
                "or `python -c` must import its module and data from a file, or set `workers=1`."
            )
        killed = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        return Outcome(name, error=RuntimeError(f"the worker process of unit `{name}` ended by {killed}."))
