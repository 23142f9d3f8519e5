"""A worker process of a search."""

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # until it opens its workshop, a worker knows nothing of training
    from psst.search.progress import Report
    from psst.search.work import Workshop

Opening = Callable[["Report"], "Workshop"]
"""Makes a workshop in another process, to which it can be sent."""


def packed(opening: Opening) -> bytes:
    """Return what `open_payload` reads: the opening, and where its modules are found.

    Raises:
        TypeError: Something in it cannot be sent to another process.
    """
    try:
        return pickle.dumps((sys.path, pickle.dumps(opening)))
    except Exception as error:  # pickle raises whatever it likes
        raise TypeError(
            f"`workers` sends `module_factory`, `datamodule` and `trainer` to other processes, which cannot "
            f"be done: {error}; define classes and functions at the top level of a module (no lambda, none "
            "inside a function; `functools.partial` gives arguments), or set `workers=1`."
        ) from error


def open_payload(payload: bytes) -> "Workshop":
    """Make the workshop here."""
    path, opening = pickle.loads(payload)
    sys.path.extend(place for place in path if place not in sys.path)
    from psst.search.progress import write_progress

    workshop: Workshop = pickle.loads(opening)(write_progress)
    return workshop


def serve(connection: "Connection[Any, Any]", payload: bytes, threads: int, number: int) -> None:
    """Do work until nobody is there to send any.

    Sends ``("opened", None)`` first, then ``("done", result)`` or ``("failed", error)`` for each work.

    Args:
        connection: To the main process.
        payload: See `packed`.
        threads: For torch; the same everywhere, for results depend on it.
        number: Of this process; on several GPUs it decides which one is used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _take_device(number)
        import torch

        torch.set_num_threads(threads)
        workshop = open_payload(payload)
    except Exception as error:
        connection.send(("failed", sendable(error)))
        return
    connection.send(("opened", None))
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        try:
            answer: tuple[str, Any] = ("done", work.do(workshop))
        except Exception as error:
            answer = ("failed", sendable(error))
        connection.send(answer)


def _end_with_parent() -> None:
    """End this process when the main one ends, however it does: two must never train one unit."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _take_device(number: int) -> None:
    """Let each process see one of the machine's GPUs, before anything uses them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]


def sendable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or its text if it cannot be sent itself."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
