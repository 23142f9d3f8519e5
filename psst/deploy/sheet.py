"""A contact sheet: pictures with their classes, and beside each the examples that are most like it."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from psst.deploy.classifier import FewShotClassifier
from psst.files import atomic_path
from psst.images.decode import decode_image
from psst.images.files.paths import printable

_MOST, _NEAREST, _COLUMNS = 42, 3, 3
_SIDE, _GAP, _LINE = 152, 8, 16  # pixels
_WIDTH, _HEIGHT = (_NEAREST + 1) * (_SIDE + _GAP) + 4 * _GAP, _SIDE + 2 * _LINE + 2 * _GAP
_INK, _SOFT, _OTHER = "#1c1c1c", "#6c6c6c", "#c4161c"


def draw_sheet(
    path: Path, classifier: FewShotClassifier, files: Sequence[Path], probabilities: npt.NDArray[np.float64]
) -> str:
    """Draw the least certain pictures first, as the classifier sees them, and say what is on the sheet.

    Examples are shown where they still lie at the classifier's `examples_`, the name of another class than
    the picture's in red. `probabilities` are ``[n, N]``, and `path` ends in .png or .jpg.
    """
    best, names = probabilities.max(axis=1), classifier.named(probabilities)
    shown = np.argsort(best, kind="stable")[:_MOST]
    near = classifier.nearest([files[i] for i in shown], _NEAREST)
    sheet = Image.new("RGB", (_COLUMNS * _WIDTH, -(-len(shown) // _COLUMNS) * _HEIGHT), "white")
    lost = set()
    for place, (i, ids) in enumerate(zip(shown, near, strict=True)):
        x, y = place % _COLUMNS * _WIDTH + _GAP, place // _COLUMNS * _HEIGHT + _GAP
        _put(sheet, (x, y), files[i], (names[i], f"{best[i]:.2f} {files[i].name}"), _INK)
        for column, one in enumerate(ids, start=1):
            example, name = Path(classifier.examples_[one]), classifier.labels_[one]
            color, left = (_SOFT if name == names[i] else _OTHER), x + column * (_SIDE + _GAP) + _GAP
            if not _put(sheet, (left, y), example, (name, example.name), color):
                lost.add(str(example) if example.name else "given as pixels")
    with atomic_path(path) as temporary:
        sheet.save(temporary)
    told = f"{path}: {len(shown)} of {len(files)} images, the least certain first, beside their like"
    return f"{told}; {len(lost)} examples are not where they were, such as `{min(lost)}`" if lost else told


def _put(sheet: Image.Image, place: tuple[int, int], path: Path, lines: Sequence[str], color: str) -> bool:
    """Draw a picture and two lines below it; gray and False where there is none."""
    picture, found = Image.new("RGB", (_SIDE, _SIDE), (225, 225, 225)), False
    with suppress(OSError, ValueError):
        picture, found = Image.fromarray(decode_image(path.read_bytes(), str(path), _SIDE, 3)), True
    sheet.paste(picture, place)
    for number, (text, ink) in enumerate(zip(lines, (color, _SOFT), strict=True)):
        below = place[0], place[1] + _SIDE + 2 + number * _LINE
        ImageDraw.Draw(sheet).text(below, _cut(printable(text)), ink, _font())
    return found


def _cut(text: str) -> str:
    """Take letters out of the middle of a text that is wider than a picture."""
    found, kept = text, len(text)
    while _font().getlength(found) > _SIDE:
        kept -= 1
        found = f"{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}"
    return found


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 12)
