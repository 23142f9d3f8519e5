import numpy as np
import pytest
import torch
from PIL import Image

from psst.images.decode import to_pillow

HEIGHT, WIDTH = 6, 5


def levels(channels=3):
    shape = (HEIGHT, WIDTH, channels) if channels else (HEIGHT, WIDTH)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def expected(array):
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize(
    ("dtype", "white"),
    [(np.uint8, 1), (np.int64, 1), (np.float32, 255), (np.float64, 1), (np.float32, 1), (np.float16, 1)],
)
def test_every_usual_form_gives_the_same_pixels(channels, first, tensor, dtype, white):
    array = levels(channels)
    value = (
        array.astype(dtype) if white == 255 or dtype in (np.uint8, np.int64) else (array / 255).astype(dtype)
    )
    if first and channels:
        value = np.moveaxis(value, 2, 0)
    value = torch.from_numpy(np.ascontiguousarray(value)) if tensor else value
    assert np.array_equal(np.asarray(to_pillow(value)), expected(array))


def test_ambiguous_shapes_are_read_as_their_kind_usually_is():
    array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(np.asarray(to_pillow(array)), array)
    assert np.array_equal(np.asarray(to_pillow(torch.from_numpy(array))), array.transpose(1, 2, 0))


def test_pillow_images_pass_as_they_are_and_booleans_are_black_and_white():
    image = Image.fromarray(levels())
    assert to_pillow(image) is image
    mask = levels(0) > 128
    assert np.array_equal(np.asarray(to_pillow(mask)), np.where(mask, 255, 0))


def test_sixteen_bits_stay_sixteen_bits():
    wide = levels(0).astype(np.uint16) * 257
    assert np.array_equal(np.asarray(to_pillow(wide)), wide)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            torch.randn(3, 8, 8),
            ValueError,
            r"not within 0 and \d+; take any normalization out of the `transform`",
        ),
        (np.full((8, 8, 3), 300), ValueError, "from 300 to 300 are not within 0 and 255"),
        (np.full((8, 8), np.nan), ValueError, "nan"),
        (np.zeros(8), ValueError, r"shape \[8\] is not that of an image"),
        (np.zeros((2, 8, 8)), ValueError, r"\[2, 8, 8\] is neither \[H, W, C\] nor \[C, H, W\]"),
        ("cat.jpg", TypeError, "a str is no image"),
        (np.array([["a"]]), TypeError, "a ndarray is no image"),
    ],
)
def test_what_is_no_image_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        to_pillow(value)
