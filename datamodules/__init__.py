"""Data sets, one a file. Each is imported when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psst.datamodules.episodic import EpisodicDataModule as EpisodicDataModule
    from psst.datamodules.glyphs import Glyphs as Glyphs
    from psst.datamodules.mini_imagenet import MiniImageNet as MiniImageNet
    from psst.datamodules.omniglot import Omniglot as Omniglot

_MODULES = {
    "EpisodicDataModule": "episodic",
    "Glyphs": "glyphs",
    "MiniImageNet": "mini_imagenet",
    "Omniglot": "omniglot",
}

__all__ = ["EpisodicDataModule", "Glyphs", "MiniImageNet", "Omniglot"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_MODULES)}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
