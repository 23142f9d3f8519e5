"""The search along the Pareto front, and what it reports; training code is imported when a search runs.

``psst.search.search(...)`` searches with any LightningModule, and so does the package itself once it is
imported: ``psst.search(...)``. Type checkers know the first spelling only: for them a module is no function.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from psst.search.settings import Look as Look
from psst.search.settings import SearchSettings as SearchSettings

if TYPE_CHECKING:
    from psst.search.door import search as search
    from psst.search.result import SearchResult as SearchResult
    from psst.search.session import run_search as run_search
    from psst.search.unit import Candidate as Candidate

__all__ = ["Candidate", "Look", "SearchResult", "SearchSettings", "run_search", "search"]

_HOMES = {
    "search": "psst.search.door",
    "Candidate": "psst.search.unit",
    "SearchResult": "psst.search.result",
    "run_search": "psst.search.session",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _CallableModule(ModuleType):
    """A module that can be called as the function of the same name inside it."""

    def __call__(self, *args: Any, **kwargs: Any) -> "SearchResult":
        """Search, see `psst.search.search`."""
        result: SearchResult = self.search(*args, **kwargs)
        return result


sys.modules[__name__].__class__ = _CallableModule
