"""Where units run: this process, several processes, Ray."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, get_args

from psst.search.engines.process_pool import ProcessPool
from psst.search.engines.worker import Opening, packed
from psst.search.graph import Engine

EngineName = Literal["processes", "ray"]


def check_engine(workers: int, engine: str) -> None:
    """Raise ValueError where there is no such engine, ImportError where it is not installed."""
    if workers < 1:
        raise ValueError(f"`workers={workers}` must be at least 1.")
    if engine not in get_args(EngineName):
        raise ValueError(f"`engine={engine}` must be one of {list(get_args(EngineName))}.")
    if engine == "ray" and find_spec("ray") is None:
        raise ImportError("`engine=ray` needs Ray: pip install 'psst-fewshot[ray]'.")


def make_engine(
    engine: EngineName, workers: int, opening: Opening, threads: int, look: Callable[[], None]
) -> Engine | None:
    """Return what does the work; None for this process.

    Raises:
        TypeError: The workshop cannot be sent to other processes.
    """
    if engine == "ray":
        from psst.search.engines.ray_engine import RayEngine

        return RayEngine(packed(opening), workers, threads, look)
    return None if workers == 1 else ProcessPool(packed(opening), workers, threads, look)
