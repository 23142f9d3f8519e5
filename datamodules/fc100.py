"""FC100 (Oreshkin et al., NeurIPS 2018): CIFAR-100 divided by superclass into 60/20/20 classes."""

from psst.datamodules.cifar_100 import DividedCifar100
from psst.images.sources.cifar import FC100_LAYOUTS


class FC100(DividedCifar100):
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

    title = "FC100"
    layouts = FC100_LAYOUTS
