"""Omniglot in small: archives and folders with the official names, and drawings of the official kind."""

import zipfile
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from psst.datamodules.omniglot import _published

ALPHABETS = sorted({alphabet for alphabet, _ in _published()})
DRAWINGS = 4


@cache
def drawing(number, drawer):
    """PNG of 105 x 105 pixels, one bit, ink 0 on 1; no two are alike, and no rotation leaves one as it is."""
    rng = np.random.default_rng((number, drawer))
    pixels = np.kron(rng.random((7, 7)) > 0.4, np.full((15, 15), True))
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def files(sizes, top, drawings=DRAWINGS):
    """Yield path and bytes of alphabets with so many characters each, as below ``images_background/``."""
    for alphabet, characters in sizes.items():
        for character in range(1, characters + 1):
            number = 100 * ALPHABETS.index(alphabet) + character  # a drawing has one name, wherever it lies
            for drawer in range(1, drawings + 1):
                name = f"{top}/{alphabet}/character{character:02}/{number:04}_{drawer:02}.png"
                yield name, drawing(number, drawer)


def archive(path, sizes, top, **options):
    """Write a zip file as the official ones are, with entries for folders and a Mac's leftovers."""
    with zipfile.ZipFile(path, "w") as file:
        for alphabet in sizes:
            file.writestr(f"{top}/{alphabet}/", "")
        for name, data in files(sizes, top, **options):
            file.writestr(name, data)
        file.writestr(f"__MACOSX/{top}/.DS_Store", b"junk")


def folder(path, sizes, top, **options):
    """Write the same as files."""
    for name, data in files(sizes, top, **options):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
