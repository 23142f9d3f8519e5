"""The search along the Pareto front, and what it reports; training code is imported when a search runs."""

from typing import TYPE_CHECKING

from psst.search.settings import SearchSettings as SearchSettings

if TYPE_CHECKING:
    from psst.search.run import run_search as run_search

__all__ = ["SearchSettings", "run_search"]


def __getattr__(name: str) -> object:
    if name == "run_search":
        from psst.search.run import run_search

        return run_search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
