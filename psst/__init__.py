"""Few-shot learning with self-supervised auxiliary tasks, and a search along the front of their losses."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psst.balancers import weighted_backward
    from psst.callbacks import PSSTCallback

__all__ = ["PSSTCallback", "__version__", "search", "weighted_backward"]

try:
    __version__ = version("psst-fewshot")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_LAZY = {"PSSTCallback": "psst.callbacks", "weighted_backward": "psst.balancers"}


def __getattr__(name: str) -> object:
    if name == "search":  # imported on first use: a package, and callable
        return import_module("psst.search")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
