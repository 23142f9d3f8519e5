"""What the data sets made of CIFAR-100 share."""

from typing import Any

from psst.datamodules.in_layouts import InLayouts
from psst.images.files.download import RemoteFile
from psst.images.sources.cifar import ARCHIVE


class DividedCifar100(InLayouts):
    """CIFAR-100, its training and test images pooled, its classes divided.

    Args:
        root: the folder.
        size: side length in pixels; 32 is that of the images.
        **shared: see `EpisodicDataModule`; `download` gets cifar-100-python.tar.gz, 169 MB.
    """

    channels = 3
    remote: tuple[RemoteFile, ...] = (
        RemoteFile(
            ARCHIVE,
            (f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",),
            "md5:eb9058c3a382ffc7106e4002c42a8d85",
        ),
    )
    manual: str = (
        "Get cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html; no need to unpack it."
    )

    def __init__(self, root: str, size: int = 32, **shared: Any) -> None:
        super().__init__(root, size, **shared)
