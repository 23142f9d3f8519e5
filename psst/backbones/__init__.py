"""Networks that turn images into feature vectors."""

from psst.backbones.backbone import Backbone
from psst.backbones.conv4 import Conv4
from psst.backbones.resnet12 import ResNet12
from psst.backbones.timm_backbone import Timm

__all__ = ["Backbone", "Conv4", "ResNet12", "Timm"]
