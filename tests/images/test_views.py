import pytest
import torch

from psst.images.geometry import patches, rotate90, shift

DTYPES = [torch.uint8, torch.float32]


def images_of(n, channels=2, height=5, width=5, dtype=torch.float32):
    return torch.arange(n * channels * height * width).reshape(n, channels, height, width).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_image_turns_by_its_own_amount(dtype):
    images, turns = images_of(6, dtype=dtype), torch.tensor([0, 1, 2, 3, 5, -1])
    turned = rotate90(images, turns)
    for image, k, result in zip(images, turns.tolist(), turned, strict=True):
        assert torch.equal(result, torch.rot90(image, k, (-2, -1)))
    assert turned.dtype == dtype


def test_quarter_turns_form_a_group():
    images = images_of(4)
    a, b = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 3, 1, 2])
    assert torch.equal(rotate90(rotate90(images, a), b), rotate90(images, a + b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_shift_is_a_crop_of_the_padded_image(dtype):
    torch.manual_seed(0)
    images, pad = images_of(30, height=6, width=4, dtype=dtype), 3
    down, right = torch.randint(-pad, pad + 1, (2, 30))
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    for i, result in enumerate(shift(images, down, right)):
        top, left = pad - down[i], pad - right[i]
        assert torch.equal(result, padded[i, :, top : top + 6, left : left + 4])


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"square|\[n, C, H, H\], found \[2, 2, 5, 4\]"):
        rotate90(images_of(2, width=4), torch.zeros(2))
    with pytest.raises(ValueError, match=r"`turns` has shape \[3\], 2 images need \[2\]"):
        rotate90(images_of(2), torch.zeros(3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("height", "width", "grid"), [(9, 12, 3), (10, 13, 3), (8, 8, 2), (5, 5, 1)])
def test_patches_without_a_gap_tile_the_middle_of_the_image(height, width, grid, dtype):
    images = images_of(2, height=height, width=width, dtype=dtype)
    cut = patches(images, grid, 0, torch.Generator())
    rows, columns = height // grid, width // grid
    assert cut.shape == (2, grid * grid, 2, rows, columns)
    assert cut.dtype == dtype
    top, left = (height - rows * grid) // 2, (width - columns * grid) // 2
    for k in range(grid * grid):
        first, second = top + k // grid * rows, left + k % grid * columns
        assert torch.equal(cut[:, k], images[:, :, first : first + rows, second : second + columns])


def test_each_patch_of_each_image_draws_its_own_place_in_its_cell():
    n, cell, gap = 500, 6, 2
    images = torch.arange(18.0 * 18).reshape(1, 1, 18, 18).expand(n, 1, 18, 18)
    cut = patches(images, 3, gap, torch.Generator().manual_seed(0))
    assert cut.shape == (n, 9, 1, 4, 4)
    corner = cut[:, :, 0, 0, 0].long()
    down = corner // 18 - torch.arange(9) // 3 * cell
    right = corner % 18 - torch.arange(9) % 3 * cell
    places = down * 3 + right
    assert {down.min().item(), right.min().item()} == {0}
    assert {down.max().item(), right.max().item()} == {gap}
    assert torch.bincount(places.flatten(), minlength=9).min() > n * 0.85  # of n each
    assert not torch.equal(places[:, 0], places[:, 1])
    assert torch.equal(cut - cut[:, :, :, :1, :1], (cut - cut[:, :, :, :1, :1])[:1, :1].expand_as(cut))
    again = patches(images, 3, gap, torch.Generator().manual_seed(0))
    assert torch.equal(cut, again)


@pytest.mark.parametrize(("grid", "gap"), [(0, 0), (6, 0), (2, 2), (2, -1)])
def test_patches_that_do_not_fit_are_refused(grid, gap):
    with pytest.raises(ValueError, match=rf"`grid={grid}` and `gap={gap}` cut images of 5 x 5"):
        patches(images_of(1), grid, gap, torch.Generator())
