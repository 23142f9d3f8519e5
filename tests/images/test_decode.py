from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from psst.images.decode import decode_image


def encoded(pixels, kind="PNG", **options):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height=40, width=40):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 5, (rows + columns) * 2], axis=-1).astype(np.uint8)


def test_image_of_the_right_size_is_unchanged():
    np.testing.assert_array_equal(decode_image(encoded(photo()), "x", 40, 3), photo())


def test_progressive_jpeg_decodes_close_to_its_pixels():
    data = encoded(photo(), "JPEG", progressive=True, quality=95)
    assert np.abs(decode_image(data, "x", 40, 3).astype(int) - photo()).mean() < 3


@pytest.mark.parametrize("size", [7, 20, 80])
def test_resizing_keeps_a_constant_image_constant(size):
    gray = np.full((33, 50), 77, np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(gray), "x", size, 1), np.full((size, size, 1), 77))


def test_shrinking_averages_instead_of_picking():
    """Alternating stripes become their mean: no aliasing."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = decode_image(encoded(stripes), "x", 8, 1)
    assert np.abs(small.astype(int) - 127).max() <= 8


@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_the_centered_square_is_kept(shape):
    pixels = np.zeros(shape, np.uint8)
    pixels[shape[0] // 2 - 10 : shape[0] // 2 + 10, shape[1] // 2 - 10 : shape[1] // 2 + 10] = 200
    np.testing.assert_array_equal(decode_image(encoded(pixels), "x", 20, 1), np.full((20, 20, 1), 200))


@pytest.mark.parametrize(("channels", "shape"), [(1, (5, 5, 1)), (3, (5, 5, 3))])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_the_channels_asked_for(mode, channels, shape):
    buffer = BytesIO()
    Image.fromarray(photo(5, 5)).convert(mode).save(buffer, "TIFF")
    assert decode_image(buffer.getvalue(), "x", 5, channels).shape == shape


@pytest.mark.parametrize(
    "data", [b"", b"not an image", encoded(photo(), "JPEG")[:-200], encoded(photo())[:60]]
)
def test_damaged_files_are_named(data):
    with pytest.raises(ValueError, match=rf"`some/file.jpg` \({len(data)} bytes\) cannot be decoded"):
        decode_image(data, "some/file.jpg", 10, 3)
