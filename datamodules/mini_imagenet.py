"""mini-ImageNet (Vinyals et al. 2016, in the class split of Ravi and Larochelle 2017)."""

from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.sources.csv_lists import CsvSource


class MiniImageNet(EpisodicDataModule):
    """mini-ImageNet, or any data set in its layout: three csv files and the images they name.

    ImageNet's terms limit its images to non-commercial research and education; none come with psst.

    Args:
        root: folder with train.csv, val.csv and test.csv (columns ``filename``, ``label``), and the images in
            ``images/`` or in uncompressed tar files.
        size: side length in pixels; 84 is usual.
        **shared: see `EpisodicDataModule`.
    """

    channels = 3

    def __init__(self, root: str, size: int = 84, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        self.root = root

    def source(self) -> Source:
        """Return the images that the csv files below `root` name."""
        return CsvSource(self.root, "mini_imagenet", channels=self.channels)
