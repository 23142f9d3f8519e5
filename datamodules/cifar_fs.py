"""CIFAR-FS (Bertinetto et al., ICLR 2019): CIFAR-100 divided at random into 64/16/20 classes."""

from psst.datamodules.cifar_100 import DividedCifar100
from psst.images.sources.cifar import CIFAR_FS_LAYOUTS


class CifarFS(DividedCifar100):
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

    title = "CIFAR-FS"
    layouts = CIFAR_FS_LAYOUTS
