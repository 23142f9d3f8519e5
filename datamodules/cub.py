"""CUB-200-2011 (Wah et al. 2011): birds of 200 kinds, in three splits that were published."""

from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.files.download import RemoteFile
from psst.images.sources.cub import CUBSource
from psst.images.sources.cub_files import ARCHIVE, MANUAL
from psst.images.sources.cub_splits import Crop, Split, check_crop, check_split


class CUB(EpisodicDataModule):
    """CUB-200-2011, 11,788 photographs of 200 kinds of birds.

    Accuracies under different splits cannot be compared, and a model trained under one must not be tested
    under another: 29 of the 50 test classes of "closer_look" train in "meta_dataset".

    * "closer_look": 100/50/50 classes of Chen et al., A Closer Look at Few-shot Classification (ICLR 2019),
      by a rule: of every four classes in order the first and third train, the second validates, the fourth
      tests. Whole images.
    * "feat": 100/50/50 classes of Ye et al., Few-Shot Learning via Embedding Adaptation (CVPR 2020), by list.
      Images are cut to the bird's box, without which accuracies are not those of the publications.
    * "meta_dataset": 140/30/30 classes of Triantafillou et al., Meta-Dataset (ICLR 2020), by list. Whole
      images.

    Args:
        root: folder that holds CUB_200_2011.tgz as it is or the extracted CUB_200_2011.
        split: one of the three; there is no default, because the choice decides what a number means.
        crop: "none" or "box"; None for what the split was published with.
        size: side length in pixels; 84 is usual.
        **shared: see `EpisodicDataModule`.

    Raises:
        ValueError: ``split`` is not set, or an option has no such value.
    """

    channels = 3
    remote: tuple[RemoteFile, ...] = (ARCHIVE,)
    manual: str = MANUAL

    def __init__(
        self,
        root: str,
        split: Split | None = None,
        crop: Crop | None = None,
        size: int = 84,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        self.root = root
        self.split = check_split(split)
        self.crop = check_crop(crop, self.split)

    def source(self) -> Source:
        """Return the images of CUB-200-2011 below `root`."""
        return CUBSource(self.root, self.split, self.crop)
