"""Networks that turn images into features, one a file, and the encoder that wraps any of them."""

from psst.backbones.adapted import Adapted
from psst.backbones.backbone import Backbone
from psst.backbones.conv4 import Conv4
from psst.backbones.encoder import Encoder
from psst.backbones.resnet12 import ResNet12
from psst.backbones.setup import Setup
from psst.backbones.timm_backbone import Timm
from psst.backbones.wide_resnet import WideResNet

__all__ = ["Adapted", "Backbone", "Conv4", "Encoder", "ResNet12", "Setup", "Timm", "WideResNet"]
