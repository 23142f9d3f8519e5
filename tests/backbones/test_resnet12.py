import pytest
import torch

from psst.backbones import ResNet12
from psst.backbones.resnet12 import DropBlock


def test_it_is_the_640_wide_one_with_12_convolutions():
    backbone = ResNet12()
    backbone.build((3, 32, 32))
    convolutions = [layer for layer in backbone.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert backbone.num_features == 640
    assert sum(layer.kernel_size == (3, 3) for layer in convolutions) == 12
    # 12.4 million parameters, the figure published for this width
    assert sum(parameter.numel() for parameter in backbone.parameters()) == pytest.approx(12.4e6, rel=0.01)


@pytest.mark.parametrize("side", [16, 21, 28])
def test_features_of_any_size(side):
    backbone = ResNet12(widths=(4, 6, 8, 10))
    backbone.build((1, side, side))
    assert backbone(torch.rand(3, 1, side, side)).shape == (3, 10)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    backbone = ResNet12(widths=(4, 6, 8, 10), drop_rate=0.5)
    backbone.build((1, 32, 32))
    images = torch.rand(4, 1, 32, 32)
    assert not torch.equal(backbone(images), backbone(images))
    backbone.eval()
    assert torch.equal(backbone(images), backbone(images))


def test_wrong_widths_are_refused():
    with pytest.raises(ValueError, match=r"`widths=\[64, 128\]` must be four"):
        ResNet12(widths=(64, 128))
    with pytest.raises(ValueError, match=r"`drop_rate=1.0`"):
        ResNet12(drop_rate=1.0)


@pytest.mark.parametrize("block_size", [1, 3, 5])
@pytest.mark.parametrize("side", [1, 2, 5, 12])
def test_drop_block_drops_about_the_asked_share_and_keeps_the_mean(side, block_size):
    torch.manual_seed(0)
    maps = torch.ones(400, 50, side, side)
    dropped = DropBlock(0.1, block_size)(maps)
    share = float((dropped == 0).float().mean())
    assert 0.07 <= share <= 0.115  # overlapping patches drop a little less than the rate
    assert float(dropped.mean()) == pytest.approx(1.0, abs=1e-4)


def test_dropped_values_form_patches():
    """Every dropped pixel lies in a wholly dropped 3 x 3 patch inside the map."""
    torch.manual_seed(0)
    zeros = (DropBlock(0.1, 3)(torch.ones(20, 4, 9, 9)) == 0).float()
    patches = torch.nn.functional.avg_pool2d(zeros, 3, stride=1) > 0.999
    padded = torch.nn.functional.pad(patches.float(), (2, 2, 2, 2))
    assert torch.equal(torch.nn.functional.max_pool2d(padded, 3, stride=1), zeros)
    assert zeros.any()


def test_a_map_below_the_patch_loses_whole_channels():
    torch.manual_seed(0)
    dropped = DropBlock(0.5, 5)(torch.ones(10, 20, 2, 2)).flatten(2)
    assert ((dropped == 0).all(dim=2) | (dropped > 0).all(dim=2)).all()
