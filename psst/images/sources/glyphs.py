"""An embedded data set: letters of the typefaces inside matplotlib."""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from psst.images.source import ImageRecord
from psst.images.sources.letters import CLASSES, SPLIT_OF_SCRIPT

_STYLES = {"Sans": "Oblique", "SansMono": "Oblique", "Serif": "Italic"}
TYPEFACES = tuple(
    f"DejaVu{family}{suffix}.ttf"
    for family, slanted in _STYLES.items()
    for suffix in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
)
_POINTS = 96  # letters are drawn once at this size
_OVERSAMPLING = 4
_INK = 20 / 28  # longer side of a letter as part of the image, before the affine change


@dataclass(frozen=True)
class Drawing:
    """A letter in a typeface; ``number`` seeds the affine change, 0 to ``GlyphSource.drawings - 1``."""

    letter: str
    typeface: str
    number: int


class GlyphSource:
    """Letters without diacritics in twelve DejaVu typefaces, white on black, each drawn with small changes.

    Latin letters train, Cyrillic ones validate, Greek, Armenian and Georgian ones test. There are no groups:
    test episodes mix the three scripts. No letter looks like one of another split, see the module `letters`.
    A drawing depends on its letter, typeface and number only.

    Args:
        drawings: drawings of a class per typeface; a class of two cases alternates between them.
    """

    name = "glyphs"
    channels = 1

    def __init__(self, drawings: int = 2) -> None:
        if drawings < 1:
            raise ValueError(f"`data.init_args.drawings={drawings}` must be at least 1.")
        self.drawings = drawings
        self._lock = Lock()

    def key(self, size: int) -> dict[str, Any]:
        """The number of drawings, the letters and the typefaces."""
        digest = hashlib.blake2b(repr(CLASSES).encode(), digest_size=16)
        for typeface in TYPEFACES:
            digest.update(_path(typeface).read_bytes())
        return {"drawings": self.drawings, "letters": digest.hexdigest()}

    def scan(self) -> list[ImageRecord]:
        """List the drawings of every class in every typeface that has its letters."""
        covered = {typeface: characters(typeface) for typeface in TYPEFACES}
        return [
            ImageRecord(f"{script}/{letters}", split, Drawing(letters[i % len(letters)], typeface, i))
            for script, split in SPLIT_OF_SCRIPT.items()
            for letters in CLASSES[script]
            for typeface in TYPEFACES
            if covered[typeface].issuperset(letters)
            for i in range(self.drawings)
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one drawing as ``[size, size, 1]``."""
        drawing: Drawing = record.reference
        with self._lock:  # a FreeType face serves one thread at a time
            glyph = draw_letter(drawing.letter, drawing.typeface)
        change = _affine_change(f"{drawing.typeface}/{drawing.letter}/{drawing.number}")
        return _place(glyph, change, size)[:, :, None]


def draw_letter(letter: str, typeface: str) -> Image.Image:
    """Return a letter in white on black, cut to its ink."""
    font = _font(typeface)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(letter))
    image = Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), letter, font=font, fill=255)
    return image.crop(image.getbbox())


@cache
def characters(typeface: str) -> frozenset[str]:
    """Return all characters that a typeface draws."""
    from matplotlib.ft2font import FT2Font

    return frozenset(chr(code) for code in FT2Font(str(_path(typeface))).get_charmap())


@cache
def _font(typeface: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_path(typeface)), _POINTS, layout_engine=ImageFont.Layout.BASIC)


def _path(typeface: str) -> Path:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / typeface
    if not path.is_file():
        raise FileNotFoundError(f"matplotlib's typeface `{path}` is missing; install matplotlib again.")
    return path


def _affine_change(key: str) -> npt.NDArray[np.float64]:
    """Return ``[2, 3]``: small rotation, shear, scaling; shift in parts of the image; seeded by ``key``."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    rng = np.random.default_rng(seed)
    angle, shear = rng.uniform(-8, 8) * math.pi / 180, rng.uniform(-0.12, 0.12)
    width, height = rng.uniform(0.85, 1.1, size=2)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotation @ np.array([[width, shear], [0.0, height]])
    return np.column_stack([linear, rng.uniform(-0.05, 0.05, size=2)])


def _place(glyph: Image.Image, change: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """Draw ``glyph`` at the center of a square of side ``size``, changed by ``change``."""
    canvas = size * _OVERSAMPLING
    forward = change[:, :2] * (_INK * canvas / max(glyph.size))
    center = canvas / 2 + change[:, 2] * canvas
    inverse = np.linalg.inv(forward)  # Pillow maps places of the result to places of the glyph
    offset = np.array(glyph.size) / 2 - inverse @ center
    coefficients = np.column_stack([inverse, offset]).ravel().tolist()
    large = glyph.transform((canvas, canvas), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(large.reduce(_OVERSAMPLING), dtype=np.uint8)
