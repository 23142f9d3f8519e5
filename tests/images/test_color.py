import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from psst.images.color import brighten, contrast, saturate, shift_hue, to_gray

LEVEL = 1 / 255
FACTORS = [0.0, 0.3, 1.0, 1.7, 5.0]


def images_of(n, channels=3, seed=0, size=(9, 7)):
    """Noise, with gray, black, white and pure pixels, where hue has its corners."""
    images = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed))
    for row, color in enumerate([(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 1), (1, 1, 0)]):
        images[:, :, row, 0] = torch.tensor(color[:channels], dtype=images.dtype)
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brighten, reference.adjust_brightness),
        (contrast, reference.adjust_contrast),
        (saturate, reference.adjust_saturation),
    ],
)
def test_each_image_is_changed_as_torchvision_changes_one(ours, theirs, channels):
    images = images_of(len(FACTORS), channels)
    changed = ours(images, torch.tensor(FACTORS))
    for image, factor, result in zip(images, FACTORS, changed, strict=True):
        torch.testing.assert_close(result, theirs(image, factor), rtol=0, atol=5e-4)


def test_hue_turns_as_torchvisions():
    turns = [-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5]
    images = images_of(len(turns))
    for image, turn, result in zip(images, turns, shift_hue(images, torch.tensor(turns)), strict=True):
        torch.testing.assert_close(result, reference.adjust_hue(image, turn), rtol=0, atol=1e-5)


def test_hue_is_a_circle():
    images = images_of(4)
    third = torch.full((4,), 1 / 3)
    torch.testing.assert_close(shift_hue(images, third), images.roll(1, 1))  # red to green to blue
    torch.testing.assert_close(shift_hue(shift_hue(images, third), -third), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bound", [1, 255])
def test_identity_parameters_change_no_bit(dtype, bound):
    images = (images_of(5) * bound).to(dtype)
    one, zero = torch.ones(5), torch.zeros(5)
    for change in (brighten, contrast, saturate):
        assert torch.equal(change(images, one, bound), images)
    assert torch.equal(shift_hue(images, zero), images)


def test_gray_of_gray_is_itself_to_the_last_bit():
    gray = to_gray(images_of(50))
    assert gray.shape == (50, 1, 9, 7)
    assert torch.equal(to_gray(gray), gray)
    assert torch.equal(to_gray(gray.expand(-1, 3, -1, -1)), gray)
    torch.testing.assert_close(gray, reference.rgb_to_grayscale(images_of(50)), rtol=0, atol=2e-4)


def test_gray_images_have_neither_hue_nor_saturation():
    single, triple = images_of(3, channels=1), images_of(3, channels=1).expand(-1, 3, -1, -1)
    amounts = torch.tensor([0.2, 0.4, -0.3])
    assert saturate(single, amounts) is single
    assert shift_hue(single, amounts) is single
    assert torch.equal(shift_hue(triple, amounts), triple)
    torch.testing.assert_close(saturate(triple, amounts.abs()), triple)


@pytest.mark.parametrize("bound", [1, 255])
def test_results_stay_between_black_and_white(bound):
    images, factors = images_of(6) * bound, torch.tensor([0.0, 0.5, 1.0, 2.0, 10.0, 1e6])
    for change in (brighten, contrast, saturate):
        changed = change(images, factors, bound)
        assert changed.min() >= 0
        assert changed.max() <= bound
    turned = shift_hue(images, factors / 20)
    assert turned.min() >= 0
    assert turned.max() <= bound


def test_brightness_and_contrast_of_nothing():
    images, zero = images_of(2), torch.zeros(2)
    assert brighten(images, zero).max() == 0
    gray = contrast(images, zero)
    torch.testing.assert_close(gray, to_gray(images).mean((2, 3), keepdim=True).expand_as(images))
