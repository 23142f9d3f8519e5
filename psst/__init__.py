"""Few-shot learning with self-supervised auxiliary tasks, and a search along the front of their losses."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "search"]

try:
    __version__ = version("psst-fewshot")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    if name == "search":  # imported on first use: a package, and callable
        return import_module("psst.search")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
