"""Your own images: a folder a class."""

from typing import Any

from psst.datamodules.episodic import InLayouts
from psst.episodes.settings import check_numbers
from psst.images.sources.class_folders import describe
from psst.images.sources.folder import FolderSource
from psst.images.sources.groups import ImageGroups
from psst.images.sources.layout import Layout


class ImageFolder(InLayouts):
    """Any folder of images in ``class/``, or in ``train/class/``, ``val/class/`` and ``test/class/``.

    Classes are divided, never the images of a class: few-shot learning is tested on classes that training has
    not seen. A folder ``unlabeled`` beside the classes feeds the auxiliary tasks. Zip and tar files in a
    folder without images are read in place.

    Args:
        root: the folder.
        splits: by default those of the folders, or "seeded" if there are none. "seeded" divides all classes
            64:16:20. Or the path of your lists: a csv file with the columns ``class`` and ``split``, a json
            file ``{"train": [...], "val": [...], "test": [...]}``, or a folder with train.txt, val.txt and
            test.txt; `psst.images.sources.lists.read_rows` names more, lists of images among them.
        split_seed: of the seeded division; ``seed`` does not change it.
        channels: 3 for color, 1 for grayscale.
        size: side length in pixels; the centered square of each image is resized to it.
        groups: which images show the same thing (a burst, a track, a patient) and must never stand on both
            sides of a split or of an episode: one of ``{column: NAME}``, of a csv list of images,
            ``{pattern: "(.*)_"}``, a regular expression, and ``{level: 1}``, a folder; see `ImageGroups`.
        min_images: classes with fewer images are left out, with a warning; 0 for none.
        **shared: see `EpisodicDataModule`.

    Example:
        >>> data = ImageFolder("birds", groups=ImageGroups(pattern="(.*)_"), min_images=16)
    """

    layouts = (Layout("a folder a class, below train/, val/ and test/ or not", describe, FolderSource),)

    def __init__(
        self,
        root: str,
        splits: str | None = None,
        split_seed: int = 0,
        channels: int = 3,
        size: int = 84,
        groups: ImageGroups | None = None,
        min_images: int = 0,
        **shared: Any,
    ) -> None:
        self.channels = channels
        super().__init__(root, size, **shared)
        check_numbers({"min_images": min_images}, least=0)
        self._source = FolderSource(root, "image_folder", channels, splits, split_seed, groups, min_images)
