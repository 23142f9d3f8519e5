"""Callbacks for the Lightning trainer; imported on first use, so that ``import psst`` stays light."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psst.callbacks.psst_callback import PSSTCallback

__all__ = ["PSSTCallback"]


def __getattr__(name: str) -> object:
    if name == "PSSTCallback":
        return import_module("psst.callbacks.psst_callback").PSSTCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
