"""What a data set has to say about itself before its images are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "val", "test")
UNLABELED = "unlabeled"
"""The split of images without a class, extra material for self-supervised tasks."""


@dataclass(frozen=True)
class ImageRecord:
    """One image that has not been decoded yet.

    Attributes:
        class_name: unique over all splits; "" for an image of the split ``UNLABELED``.
        split: one of ``SPLITS``, or ``UNLABELED``.
        group: episodes keep to one group of a split (an alphabet, say); None for no groups.
        reference: whatever the source needs to decode the image.
        image_group: images with one name show the same thing (a burst, a track, a patient); None for an image
            that stands for itself.
    """

    class_name: str
    split: str
    reference: Any
    group: str | None = None
    image_group: str | None = None


class Source(Protocol):
    """A data set: lists its images cheaply, then decodes them one by one, in any thread."""

    @property
    def name(self) -> str:
        """Short name, used in folder names and messages."""

    @property
    def channels(self) -> int:
        """1 for grayscale, 3 for color."""

    def key(self, size: int) -> Mapping[str, Any]:
        """Plain options that decide the stored pixels; another key is another store."""

    def scan(self) -> Sequence[ImageRecord]:
        """List every image without decoding any; whatever is wrong with the layout is raised here.

        Raises:
            FileNotFoundError: the data, or files that a list names, are not there.
            ValueError: the data are there and do not follow the layout.
        """

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return the image of ``record`` as ``[size, size, channels]``.

        Raises:
            ValueError: the image is damaged; the message names the file.
        """
