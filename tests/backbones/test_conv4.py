import copy

import pytest
import torch
from torch import nn

from psst.backbones import Conv4


@pytest.mark.parametrize(("side", "n_features"), [(84, 1600), (32, 256), (28, 64), (16, 64)])
def test_feature_length_is_the_flattened_map(side, n_features):
    backbone = Conv4()
    backbone.build((3, side, side))
    assert backbone.num_features == n_features
    assert backbone(torch.rand(2, 3, side, side)).shape == (2, n_features)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_network_of_the_papers_in_values_and_gradients(channels):
    """Pool before ReLU and channels-last order change nothing but the time."""
    torch.manual_seed(0)
    backbone = Conv4(hidden=8)
    backbone.build((channels, 20, 24))
    backbone.double()
    reference = nn.Sequential()
    for block in copy.deepcopy(backbone).blocks:
        reference.extend([block.conv, block.norm, nn.ReLU(), nn.MaxPool2d(2)])
    images = torch.randn(5, channels, 20, 24, dtype=torch.float64)
    ours, theirs = backbone(images), reference(images.contiguous()).flatten(1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for mine, other in zip(backbone.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10)


def test_build_is_idempotent_and_refuses_another_shape():
    backbone = Conv4(hidden=4)
    backbone.build((1, 28, 28))
    before = backbone.blocks
    backbone.build((1, 28, 28))
    assert backbone.blocks is before
    with pytest.raises(ValueError, match=r"built for `image_shape=\(1, 28, 28\)`, not \(3, 28, 28\)"):
        backbone.build((3, 28, 28))


def test_images_too_small_are_refused():
    with pytest.raises(
        ValueError, match=r"at least 16 x 16 pixels, the images have 8 x 8.*data.init_args.size"
    ):
        Conv4().build((3, 8, 8))


@pytest.mark.parametrize("shape", [(3, 0, 8), (3, 32)])
def test_an_impossible_shape_is_refused(shape):
    with pytest.raises(ValueError, match="three positive numbers"):
        Conv4().build(shape)


def test_initial_parameters_follow_the_global_seed():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        backbone = Conv4(hidden=4)
        backbone.build((1, 16, 16))
        states.append(backbone.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])


def test_hidden_is_checked():
    with pytest.raises(ValueError, match="`hidden=0`"):
        Conv4(hidden=0)
