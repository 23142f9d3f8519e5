import struct
import zlib
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


def in_format(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain_pixels(data, size, channels):
    """What photographs without transparency, rotation or wide pixels have always given."""
    with Image.open(BytesIO(data)) as image:
        pixels = image.convert({1: "L", 3: "RGB"}[channels])
    side = min(pixels.size)
    left, top = (pixels.width - side) / 2, (pixels.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(pixels.resize((size, size), Image.Resampling.LANCZOS, box=box)).reshape(
        size, size, channels
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_plain_images_keep_their_bits(kind, mode, channels):
    data = in_format(Image.fromarray(photo(61, 47)).convert(mode), kind)
    np.testing.assert_array_equal(decode_image(data, "x", 20, channels), plain_pixels(data, 20, channels))


QUARTERS = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}
"""Orientation -> the quarters of the picture as shown, of one whose file holds a, b above c, d."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(kind, orientation):
    colors = {"a": (250, 0, 0), "b": (0, 250, 0), "c": (0, 0, 250), "d": (250, 250, 250)}
    picture = Image.new("RGB", (32, 48), "gray")
    for place, name in zip([(0, 8), (16, 8), (0, 24), (16, 24)], "abcd", strict=True):
        picture.paste(colors[name], (*place, place[0] + 16, place[1] + 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
    pixels = decode_image(in_format(picture, kind, **options), "x", 32, 3).astype(int)
    shown = [pixels[8, 8], pixels[8, 24], pixels[24, 8], pixels[24, 24]]
    nearest = [min(colors, key=lambda name: np.abs(seen - colors[name]).sum()) for seen in shown]
    assert "".join(nearest) == QUARTERS[orientation]


def test_rotation_of_a_gray_picture():
    rows = Image.fromarray(np.repeat(np.array([[0], [90], [180], [255]], np.uint8), 4, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_image(in_format(rows, "PNG", exif=exif), "x", 4, 1)
    np.testing.assert_array_equal(pixels[:, :, 0], np.repeat([[255, 180, 90, 0]], 4, axis=0))


@pytest.mark.parametrize("exif", [b"Exif\x00\x00damaged", b"Exif\x00\x00MM\x00*\x00\x00\xff\xff", b"\x00"])
def test_damaged_exif_data_leave_the_picture_as_it_is(exif):
    data = encoded(photo(), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, "x", 20, 3), plain_pixels(data, 20, 3))


@pytest.mark.parametrize("value", [0, 9, 99])
def test_unknown_orientations_count_as_none(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(photo(), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, "x", 20, 3), plain_pixels(data, 20, 3))


def half_clear(mode):
    """Black, clear on the left, half clear in the middle, opaque on the right."""
    image = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (4, 0, 8, 12))
    image.paste((0, 0, 0, 255), (8, 0, 12, 12))
    return image.convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "TIFF"), ("RGBA", "WEBP")]
)
def test_clear_places_become_white(mode, kind, channels):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = decode_image(in_format(half_clear(mode), kind, **options), "x", 12, channels)
    assert pixels[6, [1, 6, 10]].tolist() == [[255] * channels, [127] * channels, [0] * channels]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_clear_colors_of_a_palette_become_white(kind):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.paste(0, (0, 0, 2, 4))
    pixels = decode_image(in_format(image, kind, transparency=0), "x", 4, 3)
    assert pixels[0, [0, 3]].tolist() == [[255, 255, 255], [200, 100, 50]]
    assert decode_image(in_format(image, kind), "x", 4, 3)[0, [0, 3]].tolist() == [[0, 0, 0], [200, 100, 50]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_clear_color_becomes_white(mode):
    black = {"L": 0, "RGB": (0, 0, 0)}[mode]
    image = Image.new(mode, (4, 4), black)
    image.paste({"L": 9, "RGB": (9, 9, 9)}[mode], (0, 0, 2, 4))
    pixels = decode_image(in_format(image, "PNG", transparency=black), "x", 4, 1)
    assert pixels[0, [0, 3], 0].tolist() == [9, 255]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colors(kind):
    """No ink is white, all black ink is black, yellow and magenta make red."""
    inks = [(0, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0)]
    image = Image.new("CMYK", (24, 24))
    for i, ink in enumerate(inks):
        image.paste(ink, (8 * i, 0, 8 * i + 8, 24))
    pixels = decode_image(in_format(image, kind), "x", 24, 3).astype(int)
    expected = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]])
    assert np.abs(pixels[12, [4, 12, 20]] - expected).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_gray_is_scaled_and_not_clipped(kind, channels):
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = decode_image(in_format(Image.fromarray(values), kind), "x", 64, channels)
    assert pixels.shape == (64, 64, channels)
    assert np.abs(pixels[:, :, -1] - values / 257).max() <= 0.5


def test_1_bit_becomes_black_and_white():
    pixels = np.zeros((8, 8), bool)
    pixels[:, 4:] = True
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        found = decode_image(in_format(Image.fromarray(pixels), kind), "x", 8, 1)
        np.testing.assert_array_equal(found[:, :, 0], pixels * 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind):
    first, *others = (Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = in_format(first, kind, save_all=True, append_images=others, **options)
    assert Image.open(BytesIO(data)).n_frames == 3
    np.testing.assert_array_equal(decode_image(data, "x", 8, 3), np.broadcast_to([255, 0, 0], (8, 8, 3)))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused(mode):
    with pytest.raises(ValueError, match=rf"`x.tif` .*32 bits wide \(Pillow's mode {mode}\).*8 or 16 bits"):
        decode_image(in_format(Image.new(mode, (4, 4)), "TIFF"), "x.tif", 4, 1)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_decompression_bomb_is_refused_before_it_is_decoded():
    """A file of 100 bytes that promises 40 gigapixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    bomb = b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=r"`bomb.png` .*40000000000 pixels.*decompression bomb"):
        decode_image(bomb, "bomb.png", 10, 3)


def test_formats_that_run_a_program_are_refused():
    """Pillow hands EPS to Ghostscript."""
    data = in_format(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(ValueError, match="not a known image format"):
        decode_image(data, "figure.jpg", 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000"])
def test_whatever_is_damaged_is_named_and_nothing_else_is_raised(kind):
    """Files cut anywhere, and with bytes changed, are decoded or named."""
    whole = in_format(Image.fromarray(photo(24, 24)), kind)
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 25):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        for data in (whole[:cut], changed.tobytes()):
            try:
                assert decode_image(data, "x.img", 8, 3).shape == (8, 8, 3)
            except ValueError as error:
                assert str(error).startswith("`x.img` (")  # noqa: PT017 - it may decode as well


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_files_of_every_format_are_named(kind, part):
    """Of noise, so that no format ends in padding."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    whole = in_format(Image.fromarray(noise), kind)
    assert decode_image(whole, "x", 24, 3).any()
    with pytest.raises(ValueError, match=r"`cut.img` .* cannot be decoded .* restore the file"):
        decode_image(whole[: int(len(whole) * part)], "cut.img", 24, 3)
