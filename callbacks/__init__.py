"""Callbacks for the Lightning trainer."""

from psst.callbacks.psst_callback import PSSTCallback

__all__ = ["PSSTCallback"]
