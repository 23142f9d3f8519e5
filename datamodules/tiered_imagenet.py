"""tieredImageNet (Ren et al., ICLR 2018): classes whose splits differ in what they are."""

from psst.datamodules.in_layouts import InLayouts
from psst.images.sources.tiered import LAYOUTS


class TieredImageNet(InLayouts):
    """tieredImageNet, 351/97/160 classes of 20/6/8 superclasses, 779,165 images.

    What `root` holds decides, in this order:

    * ``<split>_images_png.pkl`` and ``<split>_labels.pkl`` of Ren et al., from tiered-imagenet.tar, unpacked
      (12.9 GB); names may begin with ``tiered-imagenet-``;
    * ``<split>_images.npz`` and ``<split>_labels.pkl`` of MetaOptNet, in which colors are blue, green, red;
    * ``train/``, ``val/`` and ``test/`` with a folder a class, divided as published;
    * folders named by WordNet ids, as in ImageNet: the 608 published classes are taken.

    Files of the first two are not to be mixed. There is no automatic download: hashes of these files are
    not known to us. Links are in the repositories renmengye/few-shot-ssl-public and kjunelee/MetaOptNet, and
    the files of the first are in the record 7978538 of zenodo.org. ImageNet's terms limit its images to
    non-commercial research and education; none come with psst.

    Args:
        root: the folder.
        size: side length in pixels; 84 is usual, and makes a store of 16.5 GB.
        **shared: see `EpisodicDataModule`.
    """

    title = "tieredImageNet"
    layouts = LAYOUTS
    channels = 3
    manual: str = (
        "Get tiered-imagenet.tar from a link in the repository renmengye/few-shot-ssl-public and unpack it; "
        "or <split>_images.npz and <split>_labels.pkl from one in kjunelee/MetaOptNet; or the files that "
        "begin with tiered-imagenet- from https://zenodo.org/records/7978538."
    )
