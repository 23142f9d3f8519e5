import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from psst.images.geometry import affine, erase, rectangles, resized_crop, rotate90, shift


def images_of(n, height=9, width=7, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def amounts(*values):
    return torch.tensor(values, dtype=torch.float32)


def moved(images, angle=0.0, right=0.0, down=0.0, scale=1.0, shear=0.0):
    """Change every image alike."""
    given = (angle, right, down, scale, shear)
    return affine(images, *[torch.full((len(images),), float(value)) for value in given])


@pytest.mark.parametrize("size", [(9, 7), (8, 8), (5, 12)])
def test_affine_is_torchvisions(size):
    rng = torch.Generator().manual_seed(1)
    images = images_of(20, *size)
    angles, shears = 180 * (2 * torch.rand(2, 20, generator=rng) - 1) * torch.tensor([[1.0], [0.4]])
    right, down = 3 * (2 * torch.rand(2, 20, generator=rng) - 1)
    scales = 0.5 + torch.rand(20, generator=rng)
    result = affine(images, angles, right, down, scales, shears)
    for i, image in enumerate(images):
        expected = reference.affine(
            image,
            angle=-float(angles[i]),  # clockwise
            translate=[float(right[i]), float(down[i])],
            scale=float(scales[i]),
            shear=[float(shears[i]), 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(result[i], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("turns", [-1, 1, 2, 3])
def test_rotation_by_quarters_is_rot90(turns):
    images = images_of(4, 8, 8)
    expected = rotate90(images, torch.full((4,), turns))
    torch.testing.assert_close(moved(images, angle=90 * turns), expected, rtol=0, atol=1e-5)
    levels = (255 * images).round()
    assert torch.equal(moved(levels, angle=90 * turns).round(), rotate90(levels, torch.full((4,), turns)))


def test_translation_by_whole_pixels_is_a_shift():
    images, down, right = images_of(5), torch.tensor([0, 2, -1, 3, -3]), torch.tensor([1, 0, -2, 4, -4])
    zero, one = torch.zeros(5), torch.ones(5)
    result = affine(images, zero, right, down, one, zero)
    torch.testing.assert_close(result, shift(images, down, right), rtol=0, atol=1e-5)


def test_affine_changes_are_undone_by_their_inverses():
    smooth = torch.nn.functional.interpolate(images_of(3, 3, 3), (33, 33), mode="bicubic")
    inner = (..., slice(10, 23), slice(10, 23))
    for change, back in [
        ({"angle": 20}, {"angle": -20}),
        ({"scale": 1.25}, {"scale": 0.8}),
        ({"shear": 15}, {"shear": -15}),
    ]:
        again = moved(moved(smooth, **change), **back)
        torch.testing.assert_close(again[inner], smooth[inner], rtol=0, atol=0.02)


def test_identity_parameters_change_no_bit():
    images = images_of(3)
    assert torch.equal(moved(images), images)
    start = torch.zeros(3)
    whole = resized_crop(images, start, start, torch.full((3,), 9.0), torch.full((3,), 7.0))
    assert torch.equal(whole, images)


@pytest.mark.parametrize("size", [(9, 7), (16, 16)])
def test_resized_crop_is_torchvisions(size):
    height, width = size
    images = images_of(40, *size)
    uniform = torch.rand(4, 40, generator=torch.Generator().manual_seed(3))
    boxes = rectangles(uniform, (0.05, 1.0), (3 / 4, 4 / 3), size)
    result = resized_crop(images, *boxes)
    for i, image in enumerate(images):
        top, left, rows, columns = (int(part[i]) for part in boxes)
        expected = reference.resized_crop(image, top, left, rows, columns, [height, width])
        torch.testing.assert_close(result[i], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(32, 32), (20, 50)])
@pytest.mark.parametrize("share", [1e-6, 0.08, 0.5, 1.0])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (0.3, 3.3), (1, 1), (2, 9)])
def test_rectangles_lie_inside_and_have_the_shape_asked_for(size, share, ratio):
    rng = torch.Generator().manual_seed(0)
    uniform = torch.rand(4, 2000, generator=rng)
    uniform[:, 0], uniform[:, 1] = 0, 1 - 2**-24
    top, left, height, width = rectangles(uniform, (share, share), ratio, size)
    for start, extent, most in ((top, height, size[0]), (left, width, size[1])):
        assert start.min() >= 0
        assert extent.min() >= 1
        assert (start + extent).max() <= most
        assert torch.equal(start, start.floor())
        assert torch.equal(extent, extent.floor())
    room = (share * size[0] / size[1], size[1] / (share * size[0]))
    if share < 0.9 and height.min() > 5 and room[0] <= ratio[0] and ratio[1] <= room[1]:
        assert (height * width / (share * size[0] * size[1]) - 1).abs().max() < 0.2
        assert (width / height).min() > 0.8 * ratio[0]
        assert (width / height).max() < 1.25 * ratio[1]


def test_rectangles_reach_every_place():
    uniform = torch.rand(4, 5000, generator=torch.Generator().manual_seed(0))
    top, left, height, width = rectangles(uniform, (0.25, 0.25), (1, 1), (8, 8))
    assert set(height.tolist()) == set(width.tolist()) == {4.0}
    assert torch.bincount((top * 5 + left).long(), minlength=25).min() > 120  # of 200


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_erasing_leaves_the_rest(dtype):
    images = (255 * images_of(3) + 1).to(dtype)
    boxes = [torch.tensor(values) for values in ([0, 2, 8], [1, 3, 6], [9, 4, 1], [2, 0, 1])]
    result = erase(images, *boxes)
    assert result.dtype == dtype
    for image, after, top, left, rows, columns in zip(images, result, *boxes, strict=True):
        inside = torch.zeros(9, 7, dtype=torch.bool)
        inside[top : top + rows, left : left + columns] = True
        assert inside.sum() == rows * columns
        assert (after[:, inside] == 0).all()
        assert torch.equal(after[:, ~inside], image[:, ~inside])
