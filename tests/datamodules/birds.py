"""CUB-200-2011 in small: its 200 classes, its text files, few and little images."""

import tarfile
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from psst.datamodules.cub import _CUBSource

CLASSES = sorted(_CUBSource.classes("closer_look"))
PER_CLASS = 2
BOX = (20.0, 4.0, 16.0, 24.0)  # x, y, width, height of the bird in a picture of 40 x 32


def color(kind, number):
    """Red, green and blue of a bird; no two are alike."""
    return kind, 255 - kind, 60 * (kind % 4) + 30 * number


@cache
def picture(kind, number):
    """JPEG of 40 x 32 pixels: a gray field, and in the box a bird in its color."""
    pixels = np.full((32, 40, 3), 128, np.uint8)
    pixels[4:28, 20:36] = color(kind, number)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def file_name(name, number):
    return f"{name}/{name[4:]}_{number:04}_{int(name[:3]) * 100 + number}.jpg"


def text_files():
    """Return the tables of the data set: name of the file -> its lines."""
    images = [(name, file_name(name, number)) for name in CLASSES for number in range(1, PER_CLASS + 1)]
    box = " ".join(f"{value:.1f}" for value in BOX)
    return {
        "images.txt": [f"{i} {path}" for i, (_, path) in enumerate(images, start=1)],
        "classes.txt": [f"{i} {name}" for i, name in enumerate(CLASSES, start=1)],
        "image_class_labels.txt": [f"{i} {int(name[:3])}" for i, (name, _) in enumerate(images, start=1)],
        "bounding_boxes.txt": [f"{i} {box}" for i in range(1, len(images) + 1)],
        "train_test_split.txt": [f"{i} {i % 2}" for i in range(1, len(images) + 1)],
    }


def write_folder(root):
    """Write ``CUB_200_2011`` into ``root`` and return it."""
    folder = root / "CUB_200_2011"
    for name in CLASSES:
        (folder / "images" / name).mkdir(parents=True)
        for number in range(1, PER_CLASS + 1):
            (folder / "images" / file_name(name, number)).write_bytes(picture(int(name[:3]), number))
    for name, lines in text_files().items():
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "attributes").mkdir()
    (folder / "attributes" / "certainties.txt").write_text("1 not visible\n2 guessing\n")
    return folder


def write_archive(folder, path, mode="w:gz"):
    """Pack the folder as the official archive is, with attributes.txt beside it."""
    with tarfile.open(path, mode) as archive:
        data = b"1 has_bill_shape::curved_(up_or_down)\n"
        info = tarfile.TarInfo("attributes.txt")
        info.size = len(data)
        archive.addfile(info, BytesIO(data))
        archive.add(folder, "CUB_200_2011")
    return path
