"""Encoded bytes, and whatever other libraries give as an image, to pixels."""

from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

_Box = tuple[float, float, float, float]
"""x, y, width and height in pixels."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_CHANNELS = (1, 3, 4)
_MODES = {1: "L", 3: "RGB"}
_EXIF = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where Pillow looks for EXIF data


def decode_image(
    data: bytes, name: str, size: int, channels: int, box: _Box | None = None
) -> npt.NDArray[np.uint8]:
    """Decode an image, cut its centered square and shrink that with an antialiasing (Lanczos) filter.

    The picture is turned as its EXIF data say. Transparent places become white. 16-bit grayscale is divided
    by 257, so that its full range fits into 8 bits. Of an animation the first frame counts. Formats that
    start a program when read (EPS) are left out. Messages name the file as ``name``; ValueError if it is no
    image, truncated, too large to be one, or has pixels of 32 bits, or nothing of it lies in the ``box``.
    """
    try:
        with Image.open(BytesIO(data), formats=_formats()) as image:
            image.load()
            if box is None:
                return fit_image(image, size, channels)
            x, y, width, height = box
            right, bottom = min(x + width, image.width), min(y + height, image.height)
            part = (round(max(x, 0)), round(max(y, 0)), round(right), round(bottom))
            if part[0] >= part[2] or part[1] >= part[3]:
                raise ValueError(f"its box {x:g} {y:g} {width:g} {height:g} lies outside")
            return fit_image(image.crop(part), size, channels)
    except Exception as error:  # Pillow's readers raise whatever their parsing meets in damaged bytes
        # Pillow's wording, without the address of the buffer that it prints
        text = "not a known image format" if "cannot identify" in str(error) else str(error)
        raise ValueError(
            f"`{name}` ({len(data)} bytes) cannot be decoded as an image: {text or type(error).__name__}; "
            "restore the file from its source, or take it out of the data set."
        ) from error


def fit_image(image: Image.Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Turn a Pillow image of any mode, cut its centered square and resize that, see `decode_image`."""
    if not image.info.keys().isdisjoint(_EXIF):
        with suppress(Exception):  # damaged data leave it as it is
            image = ImageOps.exif_transpose(image)
    pixels = _flat(image).convert(_MODES[channels])
    side = min(pixels.size)
    left, top = (pixels.width - side) / 2, (pixels.height - side) / 2
    if pixels.size != (size, size):
        box = (left, top, left + side, top + side)
        pixels = pixels.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(pixels, dtype=np.uint8).reshape(size, size, channels)


def _flat(image: Image.Image) -> Image.Image:
    """Return the image without transparency, in 8 bits a channel."""
    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if wide:
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are 32 bits wide (Pillow's mode {image.mode}), which of them are black and white is "
            "not known; save it with 8 or 16 bits a channel"
        )
    if not image.has_transparency_data:
        return image
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def to_pillow(value: Any) -> Image.Image:
    """Return a Pillow image of an image in any usual form.

    Arrays and tensors are ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` with C = 1, 3 or 4; of two readings the
    first is taken for arrays, the last for tensors. Integers are 0 to 255, uint16 0 to 65535, floats 0 to 1,
    or to 255 where one is above 2. ValueError for another shape or range, TypeError for what is no image.
    """
    if isinstance(value, Image.Image):
        return value
    pixels = value.detach().cpu().numpy() if hasattr(value, "detach") else value  # of a tensor on any device
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "buif":
        raise TypeError(f"a {type(pixels).__name__} is no image; Pillow's, arrays and tensors are")
    if pixels.ndim not in (2, 3):
        raise ValueError(f"its shape {list(pixels.shape)} is not that of an image")
    if pixels.ndim == 3:
        order = (2, 0) if isinstance(value, np.ndarray) else (0, 2)
        axes = [axis for axis in order if pixels.shape[axis] in _CHANNELS]
        if not axes:
            raise ValueError(
                f"its shape {list(pixels.shape)} is neither [H, W, C] nor [C, H, W] with 1, 3 or 4 channels"
            )
        pixels = np.moveaxis(pixels, axes[0], 2)
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype == np.uint16 and pixels.ndim == 2:
        return Image.fromarray(pixels)
    return Image.fromarray(np.ascontiguousarray(_levels(pixels)))


def _levels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    most = 1 if pixels.dtype == np.bool_ or (pixels.dtype.kind == "f" and not high > 2) else 255
    if not (low >= -1e-4 * most and high <= (1 + 1e-4) * most):  # resampled floats overshoot by a rounding
        raise ValueError(
            f"its values from {low:g} to {high:g} are not within 0 and {most:g}; take any normalization out "
            "of the `transform` of its data set, PSST normalizes by itself"
        )
    return (pixels.clip(0, most) * (255 / most)).round().astype(np.uint8)
