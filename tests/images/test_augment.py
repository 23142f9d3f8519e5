import pytest
import torch

from psst.images.augment import Augmentation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_same_generator_state_same_result(dtype):
    images = (255 * torch.rand(20, 3, 8, 8)).to(dtype)
    augment = Augmentation(padding=2, flip=True)
    first, again, other = (augment(images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.dtype == dtype


def test_each_image_draws_its_own_change_uniformly():
    marker = torch.zeros(4000, 1, 7, 8)
    marker[:, :, 3, 2] = 1
    places = Augmentation(padding=1, flip=True)(marker, generator()).flatten(1).argmax(1)
    counts = torch.bincount(places)
    expected = {row * 8 + column for row in (2, 3, 4) for column in (1, 2, 3, 4, 5, 6)}
    assert set(counts.nonzero().flatten().tolist()) == expected
    assert (counts[counts > 0] - 4000 / 18).abs().max() < 5 * (4000 / 18) ** 0.5


def test_without_settings_nothing_changes_and_nothing_is_drawn():
    images, rng = torch.rand(3, 1, 5, 5), generator()
    before = rng.get_state()
    assert Augmentation()(images, rng) is images
    assert torch.equal(rng.get_state(), before)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="`padding=-1` must be at least 0"):
        Augmentation(padding=-1)
