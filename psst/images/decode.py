"""Encoded bytes to pixels."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

_MODES = {1: "L", 3: "RGB"}


def decode_image(data: bytes, name: str, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Decode an image, cut its centered square and shrink that with an antialiasing (Lanczos) filter.

    Args:
        data: the encoded file, in any format that Pillow reads.
        name: the file, for the message of an error.
        size: side length of the result.
        channels: 1 for grayscale, 3 for color.

    Returns:
        ``[size, size, channels]`` uint8.

    Raises:
        ValueError: the file is not an image, truncated, or too large to be one.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            pixels = image.convert(_MODES[channels])
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"`{name}` ({len(data)} bytes) cannot be decoded as an image: {_reason(error)}; restore the file "
            "from its source, or take it out of the data set."
        ) from error
    side = min(pixels.size)
    left, top = (pixels.width - side) / 2, (pixels.height - side) / 2
    if pixels.size != (size, size):
        box = (left, top, left + side, top + side)
        pixels = pixels.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(pixels, dtype=np.uint8).reshape(size, size, channels)


def _reason(error: Exception) -> str:
    """Pillow's wording, without the address of the buffer that it prints."""
    return "not a known image format" if "cannot identify" in str(error) else str(error)
