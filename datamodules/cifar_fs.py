"""CIFAR-FS (Bertinetto et al., ICLR 2019): CIFAR-100 divided at random into 64/16/20 classes."""

from pathlib import Path
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.files.download import RemoteFile
from psst.images.sources.cifar import ARCHIVE, CIFAR_FS_LAYOUTS
from psst.images.sources.layout import choose

CIFAR_100 = RemoteFile(
    ARCHIVE,
    (f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",),
    "md5:eb9058c3a382ffc7106e4002c42a8d85",
)
MANUAL = "Get cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html; no need to unpack it."


class CifarFS(EpisodicDataModule):
    """CIFAR-FS, 64/16/20 classes of 600 images, 32 x 32.

    What `root` holds decides, in this order:

    * CIFAR-100 for Python, as torchvision keeps it: cifar-100-python.tar.gz or the folder cifar-100-python;
      its training and test images are pooled;
    * the pickles CIFAR_FS_train.pickle, CIFAR_FS_val.pickle and CIFAR_FS_test.pickle of MetaOptNet;
    * ``train/``, ``val/`` and ``test/`` with a folder a class, divided as published;
    * the archive of the authors, cifar100.zip, or its folders cifar100/data/<class>.

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
        return choose(self.root, CIFAR_FS_LAYOUTS, "CIFAR-FS").source(Path(self.root).expanduser())
