"""mini-ImageNet (Vinyals et al. 2016, in the class split of Ravi and Larochelle 2017)."""

from psst.datamodules.in_layouts import InLayouts
from psst.images.files.download import RemoteFile
from psst.images.sources.mini_imagenet import LAYOUTS

_ZENODO = "https://zenodo.org/records/7978538/files/"


class MiniImageNet(InLayouts):
    """mini-ImageNet, 64/16/20 classes of 600 images, in any of the layouts it is passed round in.

    What `root` holds decides, in this order:

    * train.csv, val.csv and test.csv (columns ``filename``, ``label``), and the images they name in
      ``images/`` or in tar files; any data set in this layout will do;
    * the pickles ``mini-imagenet-cache-<split>.pkl`` of Ren et al. and of learn2learn;
    * the pickles ``miniImageNet_category_split_*.pickle`` of Gidaris and Komodakis, used by MetaOptNet: the
      training images are those of train_phase_train; train_phase_val and train_phase_test are left out;
    * ``train/``, ``val/`` and ``test/`` with a folder a class, divided as published;
    * folders named by WordNet ids, as in ImageNet: the 100 published classes are taken with all their images.

    The images were shrunk to 84 x 84 in different ways, so that layouts agree in the classes and not in each
    pixel. ImageNet's terms limit its images to non-commercial research and education; none come with psst.

    Args:
        root: the folder; archives in it are read in place.
        size: side length in pixels; 84 is usual.
        **shared: see `EpisodicDataModule`; `download` gets learn2learn's pickles, 1.8 GB.
    """

    title = "mini-ImageNet"
    layouts = LAYOUTS
    channels = 3
    # Names, sizes and hashes as listed by the record; its pickles were made by Ren et al.
    remote: tuple[RemoteFile, ...] = tuple(
        RemoteFile(
            f"mini-imagenet-cache-{split}.pkl", (f"{_ZENODO}mini-imagenet-cache-{split}.pkl",), md5, size
        )
        for split, md5, size in (
            ("train", "md5:ee4e80dc7b716f3ceec891d199b5277a", 1145461190),
            ("validation", "md5:c1145a80890b88d54a67d6e0022d53a5", 292661258),
            ("test", "md5:389b6c59d348b2e1ae9610f00a5e6724", 353647539),
        )
    )
    manual: str = (
        "Get mini-imagenet-cache-train.pkl, -validation.pkl and -test.pkl in a browser from "
        "https://zenodo.org/records/7978538."
    )
