"""Folded BatchNorm is the same function, or it is not folded."""

import timm
import torch
from torch import nn

from psst.backbones.pretrained import fused


def test_a_folded_network_has_the_same_features_and_no_batch_norm():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).train()
    images = torch.randn(4, 3, 64, 64)
    network(images)  # running statistics that are not those of the start
    network.eval()
    faster = fused(network, images)
    with torch.no_grad():
        expected, found = network(images), faster(images)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in faster.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert (found - expected).norm() <= 1e-5 * expected.norm()  # float32 in another order, 50 layers deep


def test_a_network_in_another_order_is_left_as_it_is():
    class Before(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
            nn.init.constant_(self.norm.bias, 2.0)

        def forward(self, images):
            return self.layer(self.norm(images)).mean(dim=(2, 3))

    network = Before().eval()
    assert fused(network, torch.randn(2, 3, 8, 8)) is network
