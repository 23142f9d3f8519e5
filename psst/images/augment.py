"""Random changes to training images that leave their class as it is."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from psst.images import color, geometry

_Range = tuple[float, float]
_Draws = dict[str, Tensor]  # decision -> [n] uniform numbers in [0, 1), [4, n] of a rectangle

_CROP_RATIO = (3 / 4, 4 / 3)
_ERASED_SHARE, _ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)  # Zhong et al., Random Erasing, AAAI 2020
_SINGLE = (
    *("rotation", "translation_right", "translation_down", "scale", "shear"),
    *("brightness", "contrast", "saturation", "hue", "grayscale", "erasing"),
)
# the rows of the drawn numbers that decide; four of a rectangle, see `geometry.rectangles`
_DECISIONS: dict[str, int | slice] = {"crop": slice(4), "erased": slice(15, 19)}
_DECISIONS |= {name: row for row, name in enumerate(_SINGLE, start=4)}
_ROWS = 32  # with room for later decisions, which must not move the earlier ones


class Augmentation:
    """Random changes in the order of the arguments below; each image draws its own. All are off by default.

    The same images and a generator in the same state give the same result. Everything runs in batches on the
    images' device, without waiting for it if the generator is there too. Apart from `padding` and `flip`, an
    image's draws of one change do not depend on which others are on, so turning one on or off leaves the rest
    as it was. No change looks at the other images of the batch.

    Images are uint8, or floats in [0, 1]: before any normalization. Crop, flip and erasing keep values
    exactly. All else is computed in floats and, for uint8, rounded once at the end, halves to even. What a
    change uncovers is zero.

    Example:
        >>> augmentation = Augmentation(padding=4, flip=True)
        >>> images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
        >>> augmentation(images, torch.Generator().manual_seed(0)).shape
        torch.Size([8, 3, 32, 32])

    Recipes at 84 x 84: ``padding: 8``, ``flip: true`` and 0.4 for `brightness`, `contrast` and `saturation`
    (Lee et al., MetaOptNet, CVPR 2019, and many after it), or ``resized_crop: [0.08, 1.0]`` in place of the
    padding (Chen et al., A Closer Look, ICLR 2019). At 32 x 32: ``padding: 4`` and the rest as above.

    Args:
        padding: pixels of zeros added on every side before a crop of the original size is taken; 0: no crop.
        flip: mirror half of the images. Wrong for characters, where it changes the class.
        resized_crop: least and largest share of the image's area that is cut out, 3/4 to 4/3 times as wide as
            high, and enlarged to its size.
        rotation: turn by up to so many degrees either way.
        translation: move by up to this share of the width and of the height.
        scale: least and largest factor to enlarge by, about the center.
        shear: lean by up to so many degrees either way, horizontally.
        brightness: multiply by a factor in [1 - brightness, 1 + brightness], at least 0.
        contrast: the same for the distance from the image's mean gray.
        saturation: the same for the distance from each pixel's gray.
        hue: turn by up to this part of the color circle either way, at most 0.5.
        grayscale: probability that an image loses its color.
        erasing: probability that a rectangle of 2 to 33% of the image, 0.3 to 3.3 times as wide as high, is
            set to zero.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        padding: int = 0,
        flip: bool = False,
        resized_crop: _Range | None = None,
        rotation: float = 0.0,
        translation: float = 0.0,
        scale: _Range | None = None,
        shear: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        grayscale: float = 0.0,
        erasing: float = 0.0,
    ) -> None:
        if padding < 0:
            raise ValueError(f"`padding={padding}` must be at least 0; 0 switches the random crop off.")
        self.padding, self.flip = padding, flip
        self.resized_crop = None if resized_crop is None else _interval("resized_crop", resized_crop, 1)
        self.rotation = _number("rotation", rotation, 180)
        self.translation = _number("translation", translation, 1)
        self.scale = None if scale is None else _interval("scale", scale)
        self.shear = _number("shear", shear, 85)
        self.brightness = _number("brightness", brightness)
        self.contrast = _number("contrast", contrast)
        self.saturation = _number("saturation", saturation)
        self.hue = _number("hue", hue, 0.5)
        self.grayscale = _number("grayscale", grayscale, 1)
        self.erasing = _number("erasing", erasing, 1)
        self._moves = bool(rotation or translation or scale or shear)
        self._resamples = self._moves or resized_crop is not None
        self._recolors = bool(brightness or contrast or saturation or hue or grayscale)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed ``images``, ``[n, C, H, W]``, of their dtype; draws on the generator's device.

        Raises:
            ValueError: color changes of images that are neither grayscale nor RGB.
        """
        n = len(images)
        if not n:
            return images
        if self.padding:
            bounds = (-self.padding, self.padding + 1)
            moves = torch.randint(*bounds, (2, n), generator=generator, device=generator.device)
            images = geometry.shift(images, *moves.to(images.device))
        if self.flip:
            flipped = torch.randint(2, (n, 1, 1, 1), generator=generator, device=generator.device) == 1
            images = torch.where(flipped.to(images.device), images.flip(-1), images)
        if not (self._resamples or self._recolors or self.erasing):
            return images
        # All decisions are drawn whenever one is used, and from the same place of the generator whether
        # images are also cropped and flipped or not: none moves when another is switched on or off.
        for absent in (2 * n,) * (not self.padding) + (n,) * (not self.flip):
            torch.randint(2, (absent,), generator=generator, device=generator.device)
        block = torch.rand(_ROWS, n, generator=generator, device=generator.device).to(images.device)
        draws = {name: block[rows] for name, rows in _DECISIONS.items()}
        if self._resamples or self._recolors:
            bound = 1 if images.is_floating_point() else 255  # the value of white
            values = images.to(torch.promote_types(images.dtype, torch.float32))
            values = self._recolored(self._resampled(values, draws), draws, bound)
            images = (values if images.is_floating_point() else values.round()).to(images.dtype)
        if self.erasing:
            boxes = geometry.rectangles(draws["erased"], _ERASED_SHARE, _ERASED_RATIO, images.shape[2:])
            top, left, height, width = boxes
            images = geometry.erase(images, top, left, height * (draws["erasing"] < self.erasing), width)
        return images

    def _resampled(self, images: Tensor, draws: _Draws) -> Tensor:
        height, width = images.shape[2:]
        if self.resized_crop:
            boxes = geometry.rectangles(draws["crop"], self.resized_crop, _CROP_RATIO, images.shape[2:])
            images = geometry.resized_crop(images, *boxes)
        if self._moves:
            images = geometry.affine(
                images,
                _between(draws["rotation"], -self.rotation, self.rotation),
                _between(draws["translation_right"], -self.translation * width, self.translation * width),
                _between(draws["translation_down"], -self.translation * height, self.translation * height),
                _between(draws["scale"], *(self.scale or (1.0, 1.0))),
                _between(draws["shear"], -self.shear, self.shear),
            )
        return images

    def _recolored(self, images: Tensor, draws: _Draws, bound: float) -> Tensor:
        if self._recolors and images.shape[1] not in (1, 3):
            raise ValueError(
                f"changes of color need images of 1 or 3 channels, found {images.shape[1]}; leave out "
                "`brightness`, `contrast`, `saturation`, `hue` and `grayscale`."
            )
        for name, change in _FACTORS.items():
            reach = getattr(self, name)
            if reach:
                images = change(images, _between(draws[name], max(0.0, 1 - reach), 1 + reach), bound)
        if self.hue:
            images = color.shift_hue(images, _between(draws["hue"], -self.hue, self.hue))
        if self.grayscale:
            gray = (draws["grayscale"] < self.grayscale).reshape(-1, 1, 1, 1)
            images = torch.where(gray, color.to_gray(images), images)
        return images


_FACTORS = {"brightness": color.brighten, "contrast": color.contrast, "saturation": color.saturate}


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    """Return numbers between `low` and `high`; exactly `low` where the two are the same."""
    return low + uniform * (high - low)


def _number(name: str, value: float, most: float = math.inf) -> float:
    """Return `value` if it lies in [0, `most`] and is finite; ValueError otherwise."""
    if not (0 <= value <= most and math.isfinite(value)):
        bounds = f"between 0 and {most:g}" if math.isfinite(most) else "at least 0 and finite"
        raise ValueError(f"`{name}={value}` must be {bounds}; 0 switches it off.")
    return value


def _interval(name: str, value: Sequence[float], most: float = math.inf) -> _Range:
    """Return `value` as a pair if it is two numbers above 0, ascending, at most `most`; else ValueError."""
    pair = tuple(value)
    if len(pair) == 2 and 0 < pair[0] <= pair[1] <= most and math.isfinite(pair[1]):
        return pair
    bound = f", at most {most:g}" if math.isfinite(most) else ""
    raise ValueError(
        f"`{name}={list(value)}` must be two numbers above 0{bound}, the smaller first, such as "
        f"`{name}: [0.8, 1.0]`."
    )
