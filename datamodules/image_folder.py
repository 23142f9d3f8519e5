"""Your own images: a folder a class."""

from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes.checks import check_channels
from psst.images import Source
from psst.images.sources.folder import FolderSource


class ImageFolder(EpisodicDataModule):
    """Any folder of images in ``class/``, or in ``train/class/``, ``val/class/`` and ``test/class/``.

    Classes are divided, never the images of a class: few-shot learning is tested on classes that training has
    not seen. A folder ``unlabeled`` beside the classes feeds the auxiliary tasks.

    Args:
        root: the folder.
        splits: by default those of the folders, or "seeded" if there are none. "seeded" divides all classes
            64:16:20. Or the path of your lists: a csv file with the columns ``class`` and ``split``, a json
            file ``{"train": [...], "val": [...], "test": [...]}``, or a folder with train.txt, val.txt and
            test.txt; `psst.images.sources.list_files.read_lists` names more.
        split_seed: of the seeded division; ``seed`` does not change it.
        channels: 3 for color, 1 for grayscale.
        size: side length in pixels; the centered square of each image is resized to it.
        **shared: see `EpisodicDataModule`.
    """

    def __init__(
        self,
        root: str,
        splits: str | None = None,
        split_seed: int = 0,
        channels: int = 3,
        size: int = 84,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        self.root = root
        self.splits = splits
        self.split_seed = split_seed
        self.channels = check_channels(channels)

    def source(self) -> Source:
        """Return the images below `root`."""
        return FolderSource(self.root, "image_folder", self.channels, self.splits, self.split_seed)
