"""Data sets, one a file."""

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
