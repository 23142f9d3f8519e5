"""The classes of Glyphs keep the rules that they state, drawn and compared by code of its own."""

import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font, LoadFlags
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from psst.datamodules.glyphs import _CLASSES, _SPLIT_OF_SCRIPT, _TYPEFACES

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
ALL = [(script, letters) for script, classes in _CLASSES.items() for letters in classes]


def bitmap(font: FT2Font, letter: str, side: int, ink: int) -> np.ndarray:
    """The letter, its longer side scaled to `ink` pixels, at the center of a square."""
    font.load_char(ord(letter), flags=LoadFlags.NO_HINTING)
    font.clear()
    font.set_text(letter, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap()
    image = np.asarray(font.get_image())
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(edge * ink / max(image.shape))) for edge in image.shape)
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    square = np.zeros((side, side))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = np.asarray(small) / 255
    return square


def normalized(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    centered = flat - flat.mean(axis=1, keepdims=True)
    return centered / np.linalg.norm(centered, axis=1, keepdims=True)


def best_correlation(letters: list[str], side: int, ink: int, shift: int) -> np.ndarray:
    """Largest Pearson correlation of each two letters over all shifts."""
    font = FT2Font(str(FONTS / "DejaVuSans.ttf"))
    font.set_size(96, 72)
    images = np.stack([bitmap(font, letter, side, ink) for letter in letters])
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift)))
    windows = sliding_window_view(padded, (side, side), axis=(1, 2))
    plain, best = normalized(images), np.full((len(letters), len(letters)), -1.0)
    for row in range(2 * shift + 1):
        for column in range(2 * shift + 1):
            best = np.maximum(best, plain @ normalized(windows[:, row, column]).T)
    return np.maximum(best, best.T)


@pytest.fixture(scope="module")
def similarity() -> tuple[dict[str, int], np.ndarray]:
    """Position of each letter, and how alike each two letters are."""
    letters = [letter for _, letters in ALL for letter in letters]
    return {letter: i for i, letter in enumerate(letters)}, best_correlation(letters, 32, 24, 3)


def test_every_letter_is_an_undecorated_letter_of_its_script():
    for script, letters in ALL:
        for letter in letters:
            assert unicodedata.name(letter).startswith(script.upper())
            assert unicodedata.category(letter) in {"Lu", "Ll", "Lo"}
            assert unicodedata.decomposition(letter) == ""


def test_there_are_at_least_380_classes_and_no_letter_twice():
    letters = [letter for _, letters in ALL for letter in letters]
    assert len(ALL) >= 380
    assert len(set(letters)) == len(letters)


def test_every_letter_is_in_at_least_ten_of_the_twelve_typefaces():
    assert len(_TYPEFACES) == 12
    charmaps = [FT2Font(str(FONTS / typeface)).get_charmap() for typeface in _TYPEFACES]
    for _, letters in ALL:
        assert all(sum(ord(letter) in charmap for charmap in charmaps) >= 10 for letter in letters)


def test_no_two_classes_of_different_splits_look_alike(similarity):
    """Best normalized correlation in DejaVu Sans below 0.9, else a test class would have been trained on."""
    position, best = similarity
    split = {letter: _SPLIT_OF_SCRIPT[script] for script, letters in ALL for letter in letters}
    for one in position:
        for other in position:
            if split[one] != split[other]:
                assert best[position[one], position[other]] < 0.9, (one, other)


def test_no_two_classes_of_one_split_are_the_same_picture(similarity):
    position, best = similarity
    class_of = {letter: i for i, (_, letters) in enumerate(ALL) for letter in letters}
    for one in position:
        for other in position:
            if class_of[one] != class_of[other]:
                assert best[position[one], position[other]] < 0.97, (one, other)


def test_cases_that_look_alike_are_one_class():
    """Merged from 0.9 up; what is merged may fall 0.05 short here, as rasterizers differ on thin strokes."""
    known = {letter for _, letters in ALL for letter in letters}
    for _, letters in ALL:
        upper, lower = letters[0], letters[0].lower()
        assert letters in {upper, upper + lower}
        if lower != upper and lower in known:
            alike = best_correlation([upper, lower], 112, 80, 8)[0, 1]
            assert alike >= 0.85 if letters == upper + lower else alike < 0.9, (letters, alike)
