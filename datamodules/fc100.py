"""FC100 (Oreshkin et al., NeurIPS 2018): CIFAR-100 divided by superclass into 60/20/20 classes."""

from pathlib import Path
from typing import Any

from psst.datamodules.cifar_fs import CIFAR_100, MANUAL
from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.files.download import RemoteFile
from psst.images.sources.cifar import FC100_LAYOUTS
from psst.images.sources.layout import choose


class FC100(EpisodicDataModule):
    """FC100, 60/20/20 classes of 12/4/4 superclasses, 600 images each, 32 x 32.

    What `root` holds decides, in this order:

    * CIFAR-100 for Python, as torchvision keeps it: cifar-100-python.tar.gz or the folder cifar-100-python;
      its training and test images are pooled;
    * the pickles FC100_train.pickle, FC100_val.pickle and FC100_test.pickle of MetaOptNet and learn2learn;
    * ``train/``, ``val/`` and ``test/`` with a folder a class, divided as published;
    * folders named by the 100 classes, at any depth.

    Args:
        root: the folder.
        size: side length in pixels; 32 is that of the images.
        **shared: see `EpisodicDataModule`; `download` gets cifar-100-python.tar.gz, 169 MB.
    """

    channels = 3
    remote: tuple[RemoteFile, ...] = (CIFAR_100,)
    manual: str = MANUAL

    def __init__(self, root: str, size: int = 32, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        self.root = root

    def source(self) -> Source:
        """Return the images below `root`, in the layout that they have."""
        return choose(self.root, FC100_LAYOUTS, "FC100").source(Path(self.root).expanduser())
