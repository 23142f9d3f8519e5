"""Few-shot learning with self-supervised auxiliary tasks, and a search along the front of their losses."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("psst-fewshot")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
