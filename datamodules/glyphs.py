"""Glyphs: an embedded data set, letters of the typefaces inside matplotlib; nothing is downloaded.

The classes are letters of five scripts that can be told apart. They were chosen from all letters without a
Unicode decomposition that at least 10 of matplotlib's 12 DejaVu typefaces draw; digraphs and clicks were left
out. Drawings in DejaVu Sans are brought to one size and correlated at their best shift, up to a fourteenth of
the image:

1. Two cases of a letter that correlate at 0.9 or more, at 112 x 112 pixels, are one class.
2. Of two classes of one split that reach 0.95, at 28 to 56 pixels, one was dropped.
3. Of two classes of different splits that reach 0.88 at one of these sizes, one was dropped.

The list is frozen, so that a class means the same on every machine; a test holds it to the rules.
"""
# ruff: noqa: RUF001, SIM905 - other scripts are the point; one string stays readable

import hashlib
import math
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes.settings import check_numbers
from psst.images import ImageRecord, Source

_SPLIT_OF_SCRIPT = {"Latin": "train", "Cyrillic": "val"}
_SPLIT_OF_SCRIPT |= dict.fromkeys(("Greek", "Armenian", "Georgian"), "test")
_CLASSES: Mapping[str, list[str]] = {
    "Latin": """
A B D E G H Ii J K L N Oo P Q R Ss T Vv Ww X Y Zz a d e f g h j k m r t u x Æ Ð Ø Þ ß æ ð ø þ Ħ ħ ĸ
Ł ł Ŋŋ Œ œ Ŧ ŧ ƀ Ɓ Ƃ ƃ ƅ Ɔɔ Ƈ ƈ Ɗ Ƌ ƌ ƍ Ǝ Əə Ɛɛ Ƒ ƒ Ɠ Ɣ ƕ Ɩɩ Ɨ Ƙ ƙ ƚ ƛ Ɯ Ɲ ƞ Ƣ ƣ Ƥ ƥ Ʀ Ƨƨ Ʃ ƪ ƫ Ƭ ƭ
Ʈ Ʊ Ʋ Ƴ ƴ Ƶƶ Ʒʒ Ƹƹ ƺ ƻ Ƽ ƽ ƾ ƿ Ƕ Ȝȝ ȡ Ȥ ȥ ȴ ȵ ȶ Ⱥ Ȼ ȼ Ƚ Ⱦ ȿ ɀ Ɂ Ƀ Ʉ Ʌʌ ɍ ɐ ɑ ɒ ɕ ɖ ɗ ɘ ɚ ɜ ɝ ɞ ɟ ɠ ɣ
ɤ ɥ ɦ ɧ ɨ ɪ ɬ ɭ ɮ ɯ ɰ ɱ ɲ ɳ ɴ ɷ ɸ ɹ ɺ ɻ ɼ ɽ ɾ ɿ ʀ ʁ ʂ ʃ ʄ ʅ ʆ ʇ ʈ ʉ ʊ ʋ ʍ ʎ ʏ ʐ ʑ ʓ ʔ ʕ ʖ ʗ ʙ ʚ ʛ ʜ
ʝ ʞ ʟ ʠ ʡ ʢ ʮ ʯ ᴂ ᴈ ᴉ ᴔ ᴝ ᴟ ᵷ ᵻ ᶅ ẟ Ɽ Ɱ Ɐ Ⱶⱶ ⱷ ⱹ ⱺ Ȿ Ɀ ꜧ Ꞑ ꞑ Ɦ
""".split(),
    "Cyrillic": """
Ђ Єє Љ Њ Ћ Џ Д Жж И Кк Л М Сс У Ц Ч Щщ Ъ Ы Юю Я д и л м ф ц ч ъ ы ь я ђ љ њ ћ џ Ѣ ѣ Ґґ Ғ ғ Ҕҕ Ҙ ҙ Ққ
Ң ң Ҫ ү ұ Ҳ ҳ Һ Ӄӄ Ӈӈ Ӌ Ӷӷ
""".split(),
    "Greek": """
Δ Ξ Π Φ Ψ Ω α β ζ θ μ ν ξ π ρ ς τ φ χ ψ ω ϗ Ϙ ϙ Ϛ ϛ ϝ Ϟ ϟ Ϡ ϡ Ϻ ϻ ϼ
""".split(),
    "Armenian": """
Ա Բ Գ Դ Ե Զ Է Ը Թ Ժ Ի Խ Ծ Կ Հ Ձ Ղ Ճ Մ Յ Ն Շ Ո Չ Պ Ջ Վ Ր Ւ Ք Ֆ բ գ ե զ է ը թ խ ծ ձ ճ մ ն շ ո չ ջ ռ վ
տ փ ք ֆ
""".split(),
    "Georgian": """
ა ბ გ დ ე ვ ზ თ ი კ ლ მ ნ ო პ ჟ რ ს ტ უ ფ ქ ღ ყ შ ჩ ც ძ წ ჭ ხ ჯ ჰ ჱ ჲ ჳ ჴ ჵ ჶ ჷ ჸ ჹ ჺ
""".split(),
}
"""Script -> classes; a class is a letter, or the two cases of one."""

_STYLES = {"Sans": "Oblique", "SansMono": "Oblique", "Serif": "Italic"}
_TYPEFACES = tuple(
    f"DejaVu{family}{suffix}.ttf"
    for family, slanted in _STYLES.items()
    for suffix in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
)
_POINTS = 96  # letters are drawn once at this size
_OVERSAMPLING = 4
_INK = 20 / 28  # longer side of a letter as part of the image, before the affine change


class _GlyphSource:
    """Letters in twelve typefaces, white on black; a drawing depends on letter, typeface and number only."""

    name = "glyphs"
    channels = 1

    def __init__(self, drawings: int) -> None:
        self.drawings = drawings
        self._lock = Lock()

    def key(self, size: int) -> dict[str, Any]:
        """The number of drawings, the letters and the typefaces."""
        digest = hashlib.blake2b(repr(_CLASSES).encode(), digest_size=16)
        for typeface in _TYPEFACES:
            digest.update(_path(typeface).read_bytes())
        return {"drawings": self.drawings, "letters": digest.hexdigest()}

    def scan(self) -> list[ImageRecord]:
        """List the drawings of every class in every typeface that has its letters."""
        from matplotlib.ft2font import FT2Font

        codes = {typeface: FT2Font(str(_path(typeface))).get_charmap() for typeface in _TYPEFACES}
        return [
            ImageRecord(f"{script}/{letters}", split, (letters[i % len(letters)], typeface, i))
            for script, split in _SPLIT_OF_SCRIPT.items()
            for letters in _CLASSES[script]
            for typeface in _TYPEFACES
            if codes[typeface].keys() >= set(map(ord, letters))
            for i in range(self.drawings)
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one drawing as ``[size, size, 1]``."""
        letter, typeface, number = record.reference  # the number seeds the affine change
        with self._lock:  # a FreeType face serves one thread at a time
            font = _font(str(_path(typeface)))
            left, top, right, bottom = (round(edge) for edge in font.getbbox(letter))
            glyph = Image.new("L", (right - left + 4, bottom - top + 4))
            ImageDraw.Draw(glyph).text((2 - left, 2 - top), letter, font=font, fill=255)
        glyph = glyph.crop(glyph.getbbox())
        return _place(glyph, _affine_change(f"{typeface}/{letter}/{number}"), size)[:, :, None]


_font = cache(partial(ImageFont.truetype, size=_POINTS, layout_engine=ImageFont.Layout.BASIC))


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


class Glyphs(EpisodicDataModule):
    """Letters of matplotlib's DejaVu typefaces: Latin trains, Cyrillic validates, three scripts test.

    The scripts of the test split (Greek, Armenian, Georgian) are pooled: episodes mix them.

    Args:
        drawings: drawings of a class per typeface, 12 of them; a class of two cases alternates between them.
        size: side length in pixels.
        **shared: see `EpisodicDataModule`.

    Example:
        >>> data = Glyphs(episodes=Episodes(way=5, shot=1))
    """

    channels = 1

    def __init__(self, drawings: int = 2, size: int = 28, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        check_numbers({"drawings": drawings})
        self.drawings = drawings

    def source(self) -> Source:
        """Return the letters."""
        return _GlyphSource(self.drawings)
