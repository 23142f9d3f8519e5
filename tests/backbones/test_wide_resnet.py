import pytest
import torch

from psst.backbones import WideResNet


def test_wrn_28_10_has_the_published_number_of_parameters():
    backbone = WideResNet()
    backbone.build((3, 80, 80))
    # 36,479,194 with the 10-way layer of the authors' network for CIFAR-10
    assert sum(p.numel() for p in backbone.parameters()) == 36_479_194 - (640 * 10 + 10)
    assert (backbone.num_features, backbone.map_shape) == (640, (640, 20, 20))


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 33, 30), (3, 5, 5)])
def test_features_are_pooled_maps_of_any_size_and_color(size):
    backbone = WideResNet(10, 1).eval()
    backbone.build(size)
    images = torch.randn(2, *size)
    maps = backbone.maps(images)
    assert maps.shape == (2, *backbone.map_shape)
    torch.testing.assert_close(backbone(images), backbone.pool(maps))


def test_a_block_whose_last_convolution_is_zero_keeps_its_input():
    backbone = WideResNet(16, 1).eval()
    backbone.build((3, 8, 8))
    block = backbone.blocks[1]
    assert block.shortcut is None
    block.conv2.weight.data.zero_()
    maps = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(maps), maps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 27}, "`depth=27` must be 6 n"),
        ({"widen": 0}, "`widen=0` must be at least 1"),
        ({"drop_rate": 1.0}, "drop_rate"),
    ],
)
def test_a_wrong_number_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(**settings)
