"""Where units run: this process, several processes, Ray; each gives futures."""

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:  # until it opens its workshop, a worker knows nothing of training
    from psst.search.progress import Report
    from psst.search.work import Work, Workshop

EngineName = Literal["processes", "ray"]
Opening = Callable[["Report"], "Workshop"]
"""Makes a workshop in another process, to which it can be sent."""

_opened: "dict[bytes, Workshop]" = {}  # in a worker process


class LostWorkerError(RuntimeError):
    """The process that did a piece of work is gone; what it had saved is there."""


class Engine(Protocol):
    """Does pieces of work side by side."""

    slots: int

    def submit(self, work: "Work") -> "Future[dict[str, Any]]":
        """Start one; only while fewer than `slots` are at work."""

    def close(self) -> None:
        """Stop whatever is at work."""


class InProcess:
    """Does one piece after the other; an error is raised where it occurs."""

    slots = 1

    def __init__(self, workshop: "Workshop") -> None:
        self.workshop = workshop

    def submit(self, work: "Work") -> "Future[dict[str, Any]]":
        """Do it; all ranks that train it together agree on what came of it."""
        from psst.search.ranks import agree

        future: Future[dict[str, Any]] = Future()
        future.set_result(agree(work.do(self.workshop)))
        return future

    def close(self) -> None:
        """Nothing is at work."""


class Processes:
    """Worker processes on this machine, all replaced when one is lost: units go on where they were."""

    def __init__(self, payload: bytes, slots: int, threads: int) -> None:
        self.slots = slots
        self._payload, self._threads = payload, threads
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, work: "Work") -> "Future[dict[str, Any]]":
        """Hand it to a process; what is lost ends in a `LostWorkerError`."""
        outer: Future[dict[str, Any]] = Future()
        try:
            inner = self._workers().submit(_do_there, self._payload, work, self._threads)
        except BrokenProcessPool:
            self._pool = None
            inner = self._workers().submit(_do_there, self._payload, work, self._threads)
        inner.add_done_callback(lambda done: _hand_over(done, outer))
        return outer

    def close(self) -> None:
        """Kill all processes: whatever they write is whole or absent."""
        if self._pool is not None:
            workers = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
                worker.join()

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = get_context("spawn")  # forked processes share locks of threads that do not exist there
            begun = context.Value("i", 0)
            self._pool = ProcessPoolExecutor(self.slots, context, _begin_worker, (begun,))
        return self._pool


class RayTasks:
    """Tasks of a Ray cluster: the one that is there, or one on this machine.

    The search's folder must be the same on all machines. Joins the cluster of ``ray start``, or the address
    in ``RAY_ADDRESS``.
    """

    def __init__(self, payload: bytes, slots: int, threads: int) -> None:
        self.slots = slots
        import ray

        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            self._begin(slots * threads)
        gpus = self._ray.cluster_resources().get("GPU", 0)
        share = {"num_gpus": min(1.0, gpus / slots)} if gpus else {}
        self._task = self._ray.remote(num_cpus=threads, max_retries=0, **share)(_do_there)
        self._payload, self._threads = self._ray.put(payload), threads
        self._running: list[Any] = []

    def submit(self, work: "Work") -> "Future[dict[str, Any]]":
        """Hand it to Ray; what is lost ends in a `LostWorkerError`."""
        outer: Future[dict[str, Any]] = Future()
        reference = self._task.remote(self._payload, work, self._threads)
        self._running.append(reference)
        reference.future().add_done_callback(lambda done: _hand_over(done, outer))
        return outer

    def close(self) -> None:
        """Cancel what runs; shut a cluster down that was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()

    def _begin(self, cpus: int) -> None:
        options = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            self._ray.init(address="auto", **options)
        except ConnectionError:
            self._ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)


def check_engine(workers: int, engine: str) -> None:
    """Raise ValueError where there is no such engine, ImportError where it is not installed."""
    if isinstance(workers, bool) or workers < 1:
        raise ValueError(f"`workers={workers}` must be at least 1.")
    if engine not in get_args(EngineName):
        raise ValueError(f"`engine={engine}` must be one of {list(get_args(EngineName))}.")
    if engine == "ray" and find_spec("ray") is None:
        raise ImportError("`engine=ray` needs Ray: pip install 'psst-fewshot[ray]'.")


def make_engine(engine: EngineName, workers: int, opening: Opening, threads: int, here: "Workshop") -> Engine:
    """Return what does the work.

    Raises:
        TypeError: The workshop cannot be sent to other processes.
    """
    if engine == "ray":
        return RayTasks(packed(opening), workers, threads)
    return InProcess(here) if workers == 1 else Processes(packed(opening), workers, threads)


def packed(opening: Opening) -> bytes:
    """Return what a worker reads: the opening, and where its modules are found.

    Raises:
        TypeError: Something in it cannot be sent to another process.
    """
    try:
        return pickle.dumps((sys.path, pickle.dumps(opening)))
    except Exception as error:  # pickle raises whatever it likes
        raise TypeError(
            f"`workers` sends `module`, `data` and `trainer` to other processes, which cannot be done: "
            f"{error}; define classes and functions at the top level of a module (no lambda, none inside a "
            "function; `functools.partial` gives arguments), or set `workers=1`."
        ) from error


def _do_there(payload: bytes, work: "Work", threads: int) -> dict[str, Any]:
    """Do one piece of work in another process, whose workshop is opened at the first."""
    import torch

    torch.set_num_threads(threads)  # the same everywhere, for results depend on it
    if payload not in _opened:
        path, opening = pickle.loads(payload)
        sys.path.extend(place for place in path if place not in sys.path)
        from psst.search.progress import write_progress

        _opened.clear()
        _opened[payload] = pickle.loads(opening)(write_progress)
    return work.do(_opened[payload])


def _begin_worker(begun: Any) -> None:
    """Leave Ctrl-C to the main process, end with it however it ends, and take one of the GPUs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with begun.get_lock():
        number = begun.value
        begun.value += 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]


def _end_with_parent() -> None:
    """End this process when the main one ends: two must never train one unit."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _hand_over(done: "Future[dict[str, Any]]", outer: "Future[dict[str, Any]]") -> None:
    """Pass on a result, a loss of the process under one name."""
    error = done.exception()
    if error is None:
        outer.set_result(done.result())
    elif isinstance(error, BrokenProcessPool) or (
        type(error).__module__.startswith("ray") and "Task" not in type(error).__name__
    ):
        outer.set_exception(
            LostWorkerError(
                "its worker process ended abruptly (killed, or out of memory). A script that searches with "
                "`workers` must do so below `if __name__ == '__main__':`, and a notebook or `python -c` must "
                "import its module and data from a file, or set `workers=1`."
            )
        )
    else:
        outer.set_exception(getattr(error, "cause", None) or error)
