"""Whatever other libraries give as an image, as a Pillow image."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_CHANNELS = (1, 3, 4)


def to_pillow(value: Any) -> Image.Image:
    """Return a Pillow image of an image in any usual form.

    Arrays and tensors are ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` with C = 1, 3 or 4; of two readings the
    first is taken for arrays, the last for tensors. Integers are 0 to 255, uint16 0 to 65535, floats 0 to 1,
    or to 255 where one is above 2.

    Raises:
        ValueError: another shape, or numbers outside their range.
        TypeError: no image at all.
    """
    if isinstance(value, Image.Image):
        return value
    pixels = value.detach().cpu().numpy() if hasattr(value, "detach") else value  # of a tensor on any device
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "buif":
        raise TypeError(f"a {type(pixels).__name__} is no image; Pillow's, arrays and tensors are")
    if pixels.ndim not in (2, 3):
        raise ValueError(f"its shape {list(pixels.shape)} is not that of an image")
    if pixels.ndim == 3:
        pixels = _channels_last(pixels, first=not isinstance(value, np.ndarray))
    if pixels.dtype == np.uint16 and pixels.ndim == 2:
        return Image.fromarray(pixels)
    return Image.fromarray(np.ascontiguousarray(_levels(pixels)))


def _channels_last(pixels: npt.NDArray[Any], first: bool) -> npt.NDArray[Any]:
    """Return ``[H, W]`` or ``[H, W, C]``; `first` prefers to read the first axis as the channels."""
    axes = [axis for axis in ((0, 2) if first else (2, 0)) if pixels.shape[axis] in _CHANNELS]
    if not axes:
        raise ValueError(
            f"its shape {list(pixels.shape)} is neither [H, W, C] nor [C, H, W] with 1, 3 or 4 channels"
        )
    pixels = np.moveaxis(pixels, axes[0], 2)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _levels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    low, high = float(pixels.min()), float(pixels.max())
    most = 1 if pixels.dtype.kind == "f" and not high > 2 else 255
    if not (low >= -1e-4 * most and high <= (1 + 1e-4) * most):  # resampled floats overshoot by a rounding
        raise ValueError(
            f"its values from {low:g} to {high:g} are not within 0 and {most:g}; take any normalization out "
            "of the `transform` of its data set, PSST normalizes by itself"
        )
    return (pixels.clip(0, most) * (255 / most)).round().astype(np.uint8)
