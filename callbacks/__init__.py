"""Callbacks for the Lightning trainer."""

from psst.callbacks.psst_callback import PSSTCallback as PSSTCallback
