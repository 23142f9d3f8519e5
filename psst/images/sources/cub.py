"""CUB-200-2011 (Wah et al. 2011) as it is distributed: a folder, or the archive CUB_200_2011.tgz."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from psst.images.decode import decode_image, fit_image
from psst.images.files.archives import Entry, fingerprint, require_folder
from psst.images.source import SPLITS, ImageRecord
from psst.images.sources.cub_files import (
    AGAIN,
    BOXES,
    CLASSES,
    IMAGES,
    LABELS,
    Box,
    archive,
    boxes,
    cub_entries,
    extracted,
    table,
)
from psst.images.sources.cub_splits import Crop, Split, check_crop, check_split, class_splits
from psst.images.sources.layout import Layout


@dataclass(frozen=True)
class Bird:
    """An image file and the box around its bird; None for the whole image."""

    entry: Entry
    box: Box | None

    def __str__(self) -> str:
        return str(self.entry)


class CUBSource:
    """The 11,788 images of 200 kinds of birds, split as one of three publications did.

    Args:
        root: folder that holds CUB_200_2011 or CUB_200_2011.tgz, or is the extracted folder itself.
        split: "closer_look", "feat" or "meta_dataset", see `psst.datamodules.CUB`.
        crop: "none" for whole images, "box" to cut them to the bird's box; None for what the split was
            published with. The centered square of what is left is stored.

    Raises:
        ValueError: ``split`` or ``crop`` has another value; ``split`` has no default.
    """

    name = "cub"
    channels = 3

    def __init__(self, root: str | Path, split: Split | None = None, crop: Crop | None = None) -> None:
        self.root = root
        self.split = check_split(split)
        self.crop = check_crop(crop, self.split)

    def key(self, size: int) -> dict[str, Any]:
        """Split and crop, and the names, sizes and dates of the files."""
        files = fingerprint(require_folder(self.root), (".txt", ".jpg", ".tgz", ".gz", ".tar"))
        return {"split": self.split, "crop": self.crop, "files": files}

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and file; see `Source.scan`."""
        entries = cub_entries(require_folder(self.root))
        split_of = class_splits(self.split)
        class_of = _classes(entries, split_of)
        box_of = boxes(entries) if self.crop == "box" else None
        records, missing = [], []
        for image, path in table(entries, IMAGES, 2):
            if image not in class_of or (box_of is not None and image not in box_of):
                lacking = BOXES if image in class_of else LABELS
                raise ValueError(f"image {image} of `{entries[IMAGES]}` is not in {lacking}; {AGAIN}")
            if (entry := entries.get(f"images/{path}")) is None:
                missing.append(path)
                continue
            name, box = class_of[image], None if box_of is None else box_of[image]
            records.append(ImageRecord(name, split_of[name], Bird(entry, box)))
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(missing) + len(records)} images that `{entries[IMAGES]}` names are "
                f"missing, first: images/{missing[0]}; {AGAIN}"
            )
        return sorted(records, key=_order)

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, 3]``."""
        bird: Bird = record.reference
        data = bird.entry.read()
        if bird.box is None:
            return decode_image(data, str(bird), size, self.channels)
        return _decode_box(data, str(bird), bird.box, size)


def layouts(**options: Any) -> tuple[Layout, ...]:
    """Return the two layouts of CUB, folder and archive; options as of `CUBSource`."""
    source = partial(CUBSource, **options)
    return (
        Layout("CUB_200_2011/ with images.txt, classes.txt and images/", _sees_folder, source),
        Layout("CUB_200_2011.tgz", _sees_archive, source),
    )


def _sees_folder(folder: Path) -> str | None:
    try:
        return None if extracted(folder) is None else "CUB_200_2011, extracted"
    except OSError:
        return None


def _sees_archive(folder: Path) -> str | None:
    try:
        path = archive(folder)
    except OSError:
        return None
    return None if path is None else path.name


LAYOUTS = layouts()


def _classes(entries: Mapping[str, Entry], split_of: Mapping[str, str]) -> dict[str, str]:
    """Return the class of each image by the image's number.

    Raises:
        ValueError: the data set has not the very classes that the splits were made of.
    """
    name_of = dict(table(entries, CLASSES, 2))
    found = set(name_of.values())
    odd = sorted(found ^ split_of.keys())
    if odd:
        problem = "is unknown" if odd[0] in found else "is missing"
        raise ValueError(
            f"`{entries[CLASSES]}` lists {len(found)} classes, CUB-200-2011 has {len(split_of)}: {odd[0]} "
            f"{problem}, and {len(odd) - 1} more differ. The published splits need all of them; for other "
            "birds use `psst.datamodules.ImageFolder`."
        )
    return {image: name_of[number] for image, number in table(entries, LABELS, 2) if number in name_of}


def _decode_box(data: bytes, name: str, box: Box, size: int) -> npt.NDArray[np.uint8]:
    """Decode an image and keep what of it lies in ``box``; raises ValueError if it is damaged."""
    x, y, width, height = box
    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.load()
            right, bottom = min(x + width, image.width), min(y + height, image.height)
            part = image.crop((round(max(x, 0)), round(max(y, 0)), round(right), round(bottom)))
            return fit_image(part, size, channels=3)
    except Exception as error:  # Pillow's readers raise whatever their parsing meets in damaged bytes
        raise ValueError(
            f"`{name}` ({len(data)} bytes) cannot be decoded as an image with a bird in the box "
            f"{x:g} {y:g} {width:g} {height:g}: {error}; {AGAIN}"
        ) from error


def _order(record: ImageRecord) -> tuple[int, str, str]:
    return SPLITS.index(record.split), record.class_name, record.reference.entry.name
