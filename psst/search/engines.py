"""Where units are made: this process, several processes, Ray; each gives futures."""

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # until it gets its first unit, a worker knows nothing of training
    from psst.search.runner import UnitRunner
    from psst.search.unit import Unit

EngineName = Literal["processes", "ray"]
_Outcome = dict[str, Any] | Exception  # what came of a unit: an error is handed over like a result

_runners: "dict[bytes, UnitRunner]" = {}  # of a worker process


class Engine:
    """Makes one unit after the other, in this process: an error is raised where it occurs."""

    slots = 1  # units side by side

    def __init__(self, runner: "UnitRunner") -> None:
        self._runner = runner

    def submit(self, unit: "Unit") -> "Future[_Outcome]":
        """Start one, only while fewer than `slots` are at work; the future fails if its process is gone."""
        future: Future[_Outcome] = Future()
        future.set_result(self._runner.do(unit))
        return future

    def close(self) -> None:
        """Stop whatever is at work."""


class _Processes(Engine):
    """Worker processes on this machine, all replaced when one is lost: units go on where they were."""

    def __init__(self, payload: bytes, slots: int) -> None:
        self.slots = slots
        self._payload = payload
        self._pool = self._new_pool()

    def submit(self, unit: "Unit") -> "Future[_Outcome]":
        """Hand it to a process."""
        try:
            return self._pool.submit(_do_there, self._payload, unit)
        except BrokenProcessPool:
            self._pool = self._new_pool()
            return self._pool.submit(_do_there, self._payload, unit)

    def close(self) -> None:
        """Kill all processes: whatever they write is whole or absent."""
        workers = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()
            worker.join()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = get_context("spawn")  # forked processes share locks of threads that do not exist there
        return ProcessPoolExecutor(self.slots, context, _begin_worker, (context.Value("i", 0),))


class _RayTasks(Engine):
    """Tasks of the Ray cluster of ``ray start`` or in ``RAY_ADDRESS``, else of one on this machine.

    The search's folder must be the same on all machines.
    """

    def __init__(self, payload: bytes, slots: int, threads: int) -> None:
        self.slots = slots
        import ray

        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            options = {"log_to_driver": False, "logging_level": logging.ERROR}
            try:
                self._ray.init(address="auto", **options)
            except ConnectionError:
                cpus = slots * threads
                self._ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)
        gpus = self._ray.cluster_resources().get("GPU", 0)
        share = {"num_gpus": min(1.0, gpus / slots)} if gpus else {}
        self._task = self._ray.remote(num_cpus=threads, max_retries=0, **share)(_do_there)
        self._payload = self._ray.put(payload)
        self._running: list[Any] = []

    def submit(self, unit: "Unit") -> "Future[_Outcome]":
        """Hand it to Ray."""
        self._running.append(self._task.remote(self._payload, unit))
        future: Future[_Outcome] = self._running[-1].future()
        return future

    def close(self) -> None:
        """Cancel what runs; shut a cluster down that was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()


def make_engine(
    engine: EngineName,
    workers: int,
    runner: "UnitRunner",
    known: Mapping[str, str],
    silence: Callable[[], None] | None,
) -> Engine:
    """Return what makes units, `workers` of them side by side; TypeError where the runner cannot be sent.

    Each process is sent what is known of the data's files too, see `psst.images.trust`, and calls `silence`
    first.
    """
    if workers == 1 and engine == "processes":
        return Engine(runner)
    try:
        payload = pickle.dumps((sys.path, pickle.dumps((silence, dict(known), runner))))
    except Exception as error:  # pickle raises whatever it likes
        raise TypeError(
            f"`workers` sends `module`, `data` and `trainer` to other processes, which cannot be done: "
            f"{error}; define classes and functions at the top level of a module (no lambda, none inside a "
            "function; `functools.partial` gives arguments), or set `workers=1`."
        ) from error
    threads = runner.settings.threads
    return _RayTasks(payload, workers, threads) if engine == "ray" else _Processes(payload, workers)


def _do_there(payload: bytes, unit: "Unit") -> _Outcome:
    """Make a unit in another process, whose runner comes with the first."""
    if payload not in _runners:
        path, sent = pickle.loads(payload)
        sys.path.extend(place for place in path if place not in sys.path)
        import torch

        from psst.images import trust

        silence, known, runner = pickle.loads(sent)
        if silence is not None:
            silence()
        trust(known).__enter__()  # for as long as the process lives
        torch.set_num_threads(runner.settings.threads)  # the same everywhere, for results depend on it
        _runners.clear()
        _runners[payload] = runner
    try:
        return _runners[payload].do(unit)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error


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
