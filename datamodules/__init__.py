"""Data sets, one a file. Each is imported when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psst.datamodules.cifar_100 import FC100 as FC100
    from psst.datamodules.cifar_100 import CifarFS as CifarFS
    from psst.datamodules.cub import CUB as CUB
    from psst.datamodules.episodic import EpisodicDataModule as EpisodicDataModule
    from psst.datamodules.glyphs import Glyphs as Glyphs
    from psst.datamodules.image_folder import ImageFolder as ImageFolder
    from psst.datamodules.map_style import Learn2Learn as Learn2Learn
    from psst.datamodules.map_style import TorchvisionData as TorchvisionData
    from psst.datamodules.mini_imagenet import MiniImageNet as MiniImageNet
    from psst.datamodules.omniglot import Omniglot as Omniglot
    from psst.datamodules.tiered_imagenet import TieredImageNet as TieredImageNet

_MODULES = {
    "CUB": "cub",
    "CifarFS": "cifar_100",
    "EpisodicDataModule": "episodic",
    "FC100": "cifar_100",
    "Glyphs": "glyphs",
    "ImageFolder": "image_folder",
    "Learn2Learn": "map_style",
    "MiniImageNet": "mini_imagenet",
    "Omniglot": "omniglot",
    "TieredImageNet": "tiered_imagenet",
    "TorchvisionData": "map_style",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_MODULES)}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
