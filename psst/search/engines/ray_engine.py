"""A Ray cluster as the place of a search's work; the search's folder must be the same on all its machines."""

import logging
from collections.abc import Callable
from typing import Any

from psst.search.engines.worker import open_payload, sendable
from psst.search.graph import Outcome
from psst.search.work import Work

_PAUSE = 0.3  # seconds between two looks at what the workers are doing

_opened: dict[bytes, Any] = {}  # in a process of Ray's, which does many pieces of work


class RayEngine:
    """Runs each piece of work as a task of Ray.

    Joins the cluster that is there (``ray start``, or the address in ``RAY_ADDRESS``), and starts one on this
    machine if there is none.
    """

    def __init__(self, payload: bytes, slots: int, threads: int, look: Callable[[], None]) -> None:
        self.slots = slots
        self._look = look
        import ray

        self._ray: Any = ray
        self._started = not self._ray.is_initialized()
        if self._started:
            self._begin(slots * threads)
        gpus = self._ray.cluster_resources().get("GPU", 0)
        share = {"num_gpus": min(1.0, gpus / slots)} if gpus else {}
        self._task = self._ray.remote(num_cpus=threads, max_retries=0, **share)(_do_there)
        self._payload = self._ray.put(payload)
        self._threads = threads
        self._running: dict[Any, str] = {}

    def submit(self, work: Work) -> None:
        """Hand it to Ray."""
        self._running[self._task.remote(self._payload, work, self._threads)] = work.name

    def wait(self) -> Outcome:
        """Return the first outcome; that of a lost process is an error."""
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_PAUSE)
            self._look()
            if ready:
                break
        name = self._running.pop(ready[0])
        try:
            content = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            lost = f"the Ray worker of unit `{name}` was lost ({type(error).__name__})."
            return Outcome(name, error=RuntimeError(lost))
        return Outcome(name, error=content) if isinstance(content, Exception) else Outcome(name, content)

    def close(self) -> None:
        """Cancel what runs; shut a cluster down that was started here."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        if self._started:
            self._ray.shutdown()

    def _begin(self, cpus: int) -> None:
        options = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            self._ray.init(address="auto", **options)
        except ConnectionError:
            self._ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)


def _do_there(payload: bytes, work: Work, threads: int) -> dict[str, Any] | Exception:
    """Do one piece of work in a process of Ray's."""
    import torch

    torch.set_num_threads(threads)
    try:
        if payload not in _opened:
            _opened.clear()
            _opened[payload] = open_payload(payload)
        return work.do(_opened[payload])
    except Exception as error:
        return sendable(error)
